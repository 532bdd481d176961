#include "model_places.hpp"

namespace sherd::app {
namespace {

ExportConfig exported(const fs::path& from, const fs::path& to) {
  ExportConfig config;
  config.checkpoint = from.string();
  config.output = to.string();
  return config;
}

TEST(Export, ARunBecomesTheModelItBeganAs) {
  const Places places("gqa");
  ExportConfig config = exported(places.run(), places.at("out"));
  config.dtype = "fp32";
  const std::string text = printed_by([&] { EXPECT_EQ(export_checkpoint(config), 0); });
  EXPECT_NE(text.find("30060 parameters in fp32, 0.1 MB, from"), std::string::npos) << text;
  EXPECT_NE(text.find("step-00000001"), std::string::npos) << text;
  SafetensorsModel truth(places.model()), found(places.at("out"));
  EXPECT_EQ(found.names(), truth.names());
  for (const UnitSpec& unit : llama_units(places.config())) {
    for (const ParamSpec& spec : unit.params) EXPECT_EQ(all_of(found, spec), all_of(truth, spec)) << spec.name;
  }
  EXPECT_EQ(Tokenizer((places.at("out") / "tokenizer.model").string()).sha256(),
            Tokenizer((places.model() / "tokenizer.model").string()).sha256());
}

TEST(Export, IsBf16UnlessToldOtherwise) {
  const Places places("gqa");
  printed_by([&] { export_checkpoint(exported(places.step(1), places.at("out"))); });
  EXPECT_EQ(SafetensorsModel(places.at("out")).data_bytes(), 2 * places.config().parameters());
}

TEST(Export, WarnsWithoutATokenizer) {
  const Places places("tied");
  fs::remove(places.run() / "tokenizer.model");
  Captured captured;
  export_checkpoint(exported(places.run(), places.at("out")));
  EXPECT_NE(captured.err().find("without tokenizer.model"), std::string::npos);
  EXPECT_FALSE(fs::exists(places.at("out") / "tokenizer.model"));
}

TEST(Export, LeavesNothingBehindWhenItRefuses) {
  const Places places("odd");  // 101 rows
  ExportConfig config = exported(places.run(), places.at("out"));
  config.tokenizer = (places.at("large.model")).string();
  train_test_tokenizer(config.tokenizer, 300);
  const std::int64_t pieces = Tokenizer(config.tokenizer).pieces();
  ASSERT_GT(pieces, 101);
  EXPECT_BAD_INPUT(export_checkpoint(config), fmt::format("has {} pieces and the model has rows for 101", pieces));
  Places::damage(places.step(1) / "rank-0001.h5");
  config.tokenizer.clear();
  EXPECT_BAD_INPUT(export_checkpoint(config), "damaged");
  EXPECT_FALSE(fs::exists(places.at("out")));
}

TEST(Export, OverwritesNothing) {
  const Places places("odd");
  EXPECT_BAD_INPUT(export_checkpoint(exported(places.run(), places.model())), "exists already");
}

}  // namespace
}  // namespace sherd::app
