#include "model_source.hpp"

#include "model_places.hpp"

namespace sherd::app {
namespace {

TEST(ModelSource, FindsModelRunAndCheckpoint) {
  const Places places("gqa");
  EXPECT_EQ(kind_of(places.model()), PlaceKind::model);
  EXPECT_EQ(kind_of(places.run()), PlaceKind::run);
  EXPECT_EQ(kind_of(places.step(1)), PlaceKind::checkpoint);
  EXPECT_EQ(kind_of(places.model() / "config.json"), PlaceKind::file);
  EXPECT_EQ(fs::canonical(home_of(places.step(1))), fs::canonical(places.run()));
  EXPECT_EQ(fs::canonical(home_of(places.step(1) / "")), fs::canonical(places.run())) << "with a slash at the end";
}

TEST(ModelSource, EveryPlaceHasTheSameParameters) {
  for (const char* name : {"gqa", "tied"}) {
    const Places places(name);
    const ModelSource model = open_model(places.model());
    for (const fs::path& path : {places.run(), places.step(1)}) {
      const ModelSource source = open_model(path);
      EXPECT_EQ(source.weights.filename(), "step-00000001");
      for (const UnitSpec& unit : llama_units(source.config)) {
        for (const ParamSpec& spec : unit.params) {
          EXPECT_EQ(all_of(*source.params, spec), all_of(*model.params, spec)) << spec.name;
        }
      }
    }
  }
}

TEST(ModelSource, TakesTheNewestGoodCheckpoint) {
  Places places("gqa");
  places.write_step(2);
  EXPECT_EQ(open_model(places.run()).weights, places.step(2));
  Places::damage(places.step(2) / "manifest.json");
  Captured captured;
  EXPECT_EQ(open_model(places.run()).weights, places.step(1));
  EXPECT_NE(captured.err().find("step-00000002"), std::string::npos) << "no warning";
}

TEST(ModelSource, PassesOverACheckpointWhoseWeightsAreDamaged) {
  Places places("gqa");
  places.write_step(2);
  Places::damage(places.step(2) / "rank-0001.h5");
  EXPECT_EQ(open_model(places.run()).weights, places.step(1));
  Places::damage(places.step(1) / "rank-0000.h5");
  EXPECT_BAD_INPUT(open_model(places.run()), "no good checkpoint is left");
}

TEST(ModelSource, FindsTheTokenizerBesideTheModelUnlessOneIsNamed) {
  const Places places("gqa");
  const ModelSource source = open_model(places.step(1));
  EXPECT_EQ(find_tokenizer(source, "other.model"), "other.model");
  EXPECT_EQ(fs::canonical(find_tokenizer(source, "")), fs::canonical(places.run() / "tokenizer.model"));
  fs::remove(places.run() / "tokenizer.model");
  EXPECT_TRUE(find_tokenizer(source, "").empty());
}

TEST(ModelSource, SaysWhatIsMissing) {
  const Places places("gqa");
  EXPECT_BAD_INPUT(open_model(places.at("absent")),
                   "absent: No such file or directory; a file or directory is expected");
  EXPECT_BAD_INPUT(open_model(places.model() / "config.json"), "this is a file; a model's directory");
  fs::create_directories(places.at("empty"));
  EXPECT_BAD_INPUT(open_model(places.at("empty")), "neither a model (model.safetensors");
  std::ofstream(places.at("empty") / "metrics.jsonl") << "{}\n";
  EXPECT_BAD_INPUT(open_model(places.at("empty")), "no usable checkpoint is there");
  fs::remove(places.run() / "config.json");
  EXPECT_BAD_INPUT(open_model(places.step(1)), "config.json is missing");
}

TEST(ModelSource, RefusesAConfigurationOfAnotherModel) {
  const Places places("gqa"), other("mha");
  fs::copy_file(other.model() / "config.json", places.run() / "config.json", fs::copy_options::overwrite_existing);
  EXPECT_BAD_INPUT(open_model(places.run()), "is config.json of another model?");
}

}  // namespace
}  // namespace sherd::app
