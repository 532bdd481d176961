// The table of parameters against Hugging Face's names and shapes.
#include <gtest/gtest.h>

#include "sherd/model/param_spec.hpp"

namespace sherd {
namespace {

// 6 heads of 5 on a width of 24, so that no two sizes are equal.
ModelConfig odd_config() {
  ModelConfig c;
  c.vocab_size = 101;
  c.hidden_size = 24;
  c.layers = 3;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 5;
  c.intermediate_size = 40;
  c.max_position = 64;
  return c;
}

struct Row {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string fusion;
  bool operator==(const Row&) const = default;
};
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

std::vector<Row> rows(const UnitSpec& unit) {
  std::vector<Row> all;
  for (const ParamSpec& p : unit.params) all.push_back({p.name, p.shape, p.fusion});
  return all;
}

std::int64_t elements(const std::vector<UnitSpec>& units) {
  std::int64_t sum = 0;
  for (const UnitSpec& unit : units) {
    for (const ParamSpec& p : unit.params) sum += p.numel();
  }
  return sum;
}

TEST(LlamaUnits, AreTheEmbeddingTheBlocksAndTheHead) {
  const std::vector<UnitSpec> units = llama_units(odd_config());
  ASSERT_EQ(units.size(), 5u);
  EXPECT_EQ(units[0].name, "embedding");
  EXPECT_EQ(rows(units[0]), (std::vector<Row>{{"model.embed_tokens.weight", {101, 24}, ""}}));
  EXPECT_EQ(units[3].name, "model.layers.2");
  const std::string at = "model.layers.2.";
  EXPECT_EQ(rows(units[3]), (std::vector<Row>{{at + "input_layernorm.weight", {24}, ""},
                                              {at + "self_attn.q_proj.weight", {30, 24}, "qkv"},
                                              {at + "self_attn.k_proj.weight", {10, 24}, "qkv"},
                                              {at + "self_attn.v_proj.weight", {10, 24}, "qkv"},
                                              {at + "self_attn.o_proj.weight", {24, 30}, ""},
                                              {at + "post_attention_layernorm.weight", {24}, ""},
                                              {at + "mlp.gate_proj.weight", {40, 24}, "gate_up"},
                                              {at + "mlp.up_proj.weight", {40, 24}, "gate_up"},
                                              {at + "mlp.down_proj.weight", {24, 40}, ""}}));
  EXPECT_EQ(units[4].name, "head");
  EXPECT_EQ(rows(units[4]), (std::vector<Row>{{"model.norm.weight", {24}, ""}, {"lm_head.weight", {101, 24}, ""}}));
}

TEST(LlamaUnits, HaveOneRootWhenWeightsAreTied) {
  ModelConfig c = odd_config();
  c.tied_embeddings = true;
  const std::vector<UnitSpec> units = llama_units(c);
  ASSERT_EQ(units.size(), 4u);
  EXPECT_EQ(units[0].name, "root");
  EXPECT_EQ(rows(units[0]),
            (std::vector<Row>{{"model.embed_tokens.weight", {101, 24}, ""}, {"model.norm.weight", {24}, ""}}));
}

TEST(LlamaUnits, HoldTheModelsParameters) {
  ModelConfig c = odd_config();
  // 2 x 101 x 24, the last norm, 3 x (24 x (30 + 10 + 10 + 30) + 3 x 24 x 40 + 2 x 24)
  EXPECT_EQ(elements(llama_units(c)), 4848 + 24 + 3 * (1920 + 2880 + 48));
  EXPECT_EQ(elements(llama_units(c)), c.parameters());
  c.tied_embeddings = true;
  EXPECT_EQ(elements(llama_units(c)), 2424 + 24 + 3 * (1920 + 2880 + 48));
  EXPECT_EQ(elements(llama_units(c)), c.parameters());
}

TEST(LlamaUnits, DrawMatricesAndSpareGainsFromDecay) {
  ModelConfig c = odd_config();
  c.initializer_range = 0.125f;
  for (const UnitSpec& unit : llama_units(c)) {
    for (const ParamSpec& p : unit.params) {
      const bool gain = p.shape.size() == 1;
      EXPECT_EQ(p.init_constant, gain) << p.name;
      EXPECT_EQ(p.init_scale, gain ? 1.0f : 0.125f) << p.name;
      EXPECT_EQ(p.decay, !gain) << p.name;
    }
  }
}

}  // namespace
}  // namespace sherd
