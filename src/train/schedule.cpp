#include "sherd/train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "sherd/base/error.hpp"

namespace sherd {

double LearningRate::at(std::int64_t step) const {
  const std::int64_t position = first_step_zero ? step : step + 1;
  if (warmup > 0 && position <= warmup) {
    return peak * static_cast<double>(position) / static_cast<double>(warmup);
  }
  if (shape == Shape::constant) return peak;
  // `done` runs from 0 at the end of the warm-up to 1 at the end of the run.
  const std::int64_t start = first_step_zero ? warmup : std::max<std::int64_t>(warmup - 1, 0);
  const std::int64_t past = step - start, length = std::max<std::int64_t>(total - start, 1);
  const double done = std::min(1.0, static_cast<double>(past) / static_cast<double>(length));
  if (shape == Shape::linear) return peak * (1 - done);
  return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

LearningRate learning_rate(const TrainConfig& c, std::int64_t total_steps) {
  LearningRate lr{c.learning_rate,          c.min_lr_ratio, 0, total_steps, LearningRate::Shape::linear,
                  c.preset == "demo-compat"};
  lr.warmup = static_cast<std::int64_t>(std::ceil(c.warmup_ratio * static_cast<double>(total_steps)));
  if (c.lr_schedule == "constant")
    lr.shape = LearningRate::Shape::constant;
  else if (c.lr_schedule == "cosine")
    lr.shape = LearningRate::Shape::cosine;
  return lr;
}

std::int64_t total_steps(const TrainConfig& c, std::int64_t steps_per_epoch) {
  if (c.max_training_steps > 0) return c.max_training_steps;
  return std::max<std::int64_t>(1, std::llround(c.num_epochs * static_cast<double>(steps_per_epoch)));
}

}  // namespace sherd
