#pragma once
// What must hold across the fields of a TrainConfig, checked once, before anything is loaded.
#include <cstdint>
#include <string_view>

#include "sherd/config/subcommands.hpp"

namespace sherd {

/// What a block keeps for its backward pass.
struct ActivationCheckpointing {
  enum class Mode {
    none,       // everything
    selective,  // all but norms and SwiGLU, which are recomputed
    block,      // only its input
    every,      // as block, and the input of every `every`-th block only
  };
  Mode mode = Mode::selective;
  std::int64_t every = 1;  // blocks per segment; 1 but with Mode::every

  bool operator==(const ActivationCheckpointing&) const = default;
};

/// none | selective | block | every-K with K from 1 to 1000; usage error otherwise.
ActivationCheckpointing parse_activation_checkpointing(std::string_view text);

/// Checks every value, and settles the batch: afterwards total_batch_size ==
/// batch_size_per_device * world_size * gradient_accumulation_steps, none of them 0. Usage errors.
void validate(TrainConfig& config, std::int64_t world_size);

/// As validate, for config.train on config.ranks ranks of config.nodes nodes.
void validate(PlanConfig& config);

}  // namespace sherd
