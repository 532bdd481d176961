#pragma once
// The one table of parameters (law 5): layout, sharding, checkpoints, export, initialisation, weight decay and the
// gradient check are all read from it.
#include <cstdint>
#include <string>
#include <vector>

#include "sherd/config/model_config.hpp"

namespace sherd {

struct ParamSpec {
  std::string name;                 // Hugging Face name: "model.layers.3.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  // logical (unsharded)
  float init_scale = 0;             // normal(0, init_scale), or the constant itself
  bool init_constant = false;       // norm gains: 1
  bool decay = true;                // weight decay applies: matrices yes, gains no
  std::string fusion;               // parameters of one fusion group are contiguous: "qkv", "gate_up"

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (const std::int64_t d : shape) n *= d;
    return n;
  }
};

/// One step of the schedule: what is gathered, used and reduced at once.
struct UnitSpec {
  std::string name;  // "embedding", "model.layers.3", "head", or "root" when weights are tied
  std::vector<ParamSpec> params;
};

/// Unit 0 is the embedding (or root), units 1..L are the blocks, the last is the head (absent when tied).
std::vector<UnitSpec> llama_units(const ModelConfig& config);

}  // namespace sherd
