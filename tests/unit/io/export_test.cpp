#include "sherd/io/export.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "sherd/base/rng.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/io/checkpoint.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/model/param_spec.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

ModelConfig tiny(bool tied) {
  ModelConfig c;
  c.vocab_size = 21, c.hidden_size = 12, c.layers = 2, c.heads = 3, c.kv_heads = 1, c.head_dim = 4;
  c.intermediate_size = 10, c.max_position = 64, c.tied_embeddings = tied;
  return c;
}

float value(const std::string& name, std::size_t element) {
  return Random(3, Purpose::test, stable_hash(name)).normal(element);
}

std::filesystem::path checkpoint_of(const ModelConfig& config, const std::filesystem::path& output) {
  begin_checkpoint(output, 1);
  CheckpointWriter writer(output, 1, 0);
  for (const UnitSpec& unit : llama_units(config)) {
    for (const ParamSpec& spec : unit.params) {
      std::vector<float> data(static_cast<std::size_t>(spec.numel()));
      for (std::size_t i = 0; i < data.size(); ++i) data[i] = value(spec.name, i);
      writer.add(spec.name, spec.shape, ParamState::master, 0, data);
    }
  }
  return commit_checkpoint(output, {1, 0, 1, "{}"}, {writer.finish()}, 0);
}

TEST(Export, EveryTensorEqualsTheCheckpoints) {
  for (const bool tied : {false, true}) {
    for (const DType dtype : {DType::bf16, DType::f32}) {
      const TemporaryDirectory dir;
      CheckpointReader source(checkpoint_of(tiny(tied), dir / "run"));
      File::create(dir / "t.model").pwrite_all("pieces", 0);
      export_model(source, tiny(tied), dir / "out",
                   {.dtype = dtype, .tokenizer = dir / "t.model", .max_file_bytes = 2000});
      EXPECT_EQ(read_text(dir / "out" / "tokenizer.model", 100), "pieces");
      const ModelConfig config = load_model_config(dir / "out");
      EXPECT_EQ(config.kv_heads, 1);
      EXPECT_EQ(config.tied_embeddings, tied);
      SafetensorsModel model(dir / "out", {.tied_embeddings = tied});
      EXPECT_EQ(model.data_bytes(), config.parameters() * static_cast<std::int64_t>(size_of(dtype)));
      EXPECT_EQ(model.shape("lm_head.weight"), (std::vector<std::int64_t>{21, 12}));
      for (const std::string& name : model.names()) {
        std::int64_t n = 1;
        for (const std::int64_t d : model.shape(name)) n *= d;
        std::vector<float> out(static_cast<std::size_t>(n));
        model.read(name, ParamState::master, 0, out);
        for (std::size_t i = 0; i < out.size(); ++i) {
          const float exact = value(name, i);
          ASSERT_EQ(out[i], dtype == DType::f32 ? exact : static_cast<float>(bf16(exact))) << name << " " << i;
        }
      }
    }
  }
}

TEST(Export, RefusesWhatDoesNotFitTogether) {
  const TemporaryDirectory dir;
  CheckpointReader source(checkpoint_of(tiny(true), dir / "run"));
  ModelConfig larger = tiny(true);
  larger.vocab_size = 22;
  EXPECT_BAD_INPUT(export_model(source, larger, dir / "out", {}),
                   "has the shape (21, 12), the configuration asks for (22, 12)");
  EXPECT_BAD_INPUT(export_model(source, tiny(false), dir / "out", {}), "there is no parameter lm_head.weight");
  EXPECT_BAD_INPUT(export_model(source, tiny(true), dir / "out", {.tokenizer = dir / "none"}),
                   "cannot copy the tokenizer");
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
  EXPECT_BAD_INPUT(export_model(source, tiny(true), dir / "run", {}), "exists already");
}

}  // namespace
}  // namespace sherd
