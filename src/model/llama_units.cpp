#include <fmt/core.h>

#include "sherd/model/param_spec.hpp"

namespace sherd {
namespace {

ParamSpec matrix(std::string name, std::int64_t rows, std::int64_t cols, float scale, std::string fusion = "") {
  return {std::move(name), {rows, cols}, scale, false, true, std::move(fusion)};
}
ParamSpec gain(std::string name, std::int64_t n) {
  return {std::move(name), {n}, 1.0f, true, false, ""};
}

}  // namespace

std::vector<UnitSpec> llama_units(const ModelConfig& c) {
  const float std = c.initializer_range;
  const std::int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, C = c.hidden_size, F = c.intermediate_size;
  std::vector<UnitSpec> units;
  units.push_back(
      {c.tied_embeddings ? "root" : "embedding", {matrix("model.embed_tokens.weight", c.vocab_size, C, std)}});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string at = fmt::format("model.layers.{}", i);
    units.push_back(
        {at,
         {gain(at + ".input_layernorm.weight", C), matrix(at + ".self_attn.q_proj.weight", q, C, std, "qkv"),
          matrix(at + ".self_attn.k_proj.weight", kv, C, std, "qkv"),
          matrix(at + ".self_attn.v_proj.weight", kv, C, std, "qkv"),
          matrix(at + ".self_attn.o_proj.weight", C, q, std), gain(at + ".post_attention_layernorm.weight", C),
          matrix(at + ".mlp.gate_proj.weight", F, C, std, "gate_up"),
          matrix(at + ".mlp.up_proj.weight", F, C, std, "gate_up"), matrix(at + ".mlp.down_proj.weight", C, F, std)}});
  }
  if (c.tied_embeddings) {
    units.front().params.push_back(gain("model.norm.weight", C));
  } else {
    units.push_back({"head", {gain("model.norm.weight", C), matrix("lm_head.weight", c.vocab_size, C, std)}});
  }
  return units;
}

}  // namespace sherd
