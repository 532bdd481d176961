#pragma once
// The learning rate of a step, and how many steps a run has.
#include <cstdint>

#include "sherd/config/train_config.hpp"

namespace sherd {

struct LearningRate {
  double peak = 0, min_ratio = 0;
  std::int64_t warmup = 0, total = 1;  // steps
  enum class Shape { constant, linear, cosine } shape = Shape::linear;
  /// The reference demo (Hugging Face's get_linear_schedule_with_warmup) takes its first step at 0; we take it at
  /// peak / warmup, since a step at 0 does nothing.
  bool first_step_zero = false;

  /// Of step 0 <= step < total.
  double at(std::int64_t step) const;
};
LearningRate learning_rate(const TrainConfig& config, std::int64_t total_steps);

/// Steps of the run: --max-training-steps, or --num-epochs of `steps_per_epoch`. At least 1.
std::int64_t total_steps(const TrainConfig& config, std::int64_t steps_per_epoch);

}  // namespace sherd
