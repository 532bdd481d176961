// Learning rates against values worked out by hand, and the number of steps of a run.
#include "sherd/train/schedule.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sherd {
namespace {

using Shape = LearningRate::Shape;

void expect_rates(const LearningRate& rate, const std::vector<double>& expected) {
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(rate.at(static_cast<std::int64_t>(step)), expected[step], 1e-6) << "step " << step;
  }
}

TEST(LearningRate, FallsLinearlyToOneStepAboveZero) {
  expect_rates({.peak = 4, .warmup = 0, .total = 4, .shape = Shape::linear}, {4, 3, 2, 1});
}

TEST(LearningRate, WarmsUpFromItsFirstStep) {
  expect_rates({.peak = 9, .warmup = 2, .total = 10, .shape = Shape::linear}, {4.5, 9, 8, 7, 6, 5, 4, 3, 2, 1});
  expect_rates({.peak = 2, .warmup = 1, .total = 4, .shape = Shape::linear}, {2, 1.5, 1, 0.5});
}

TEST(LearningRate, FollowsACosineToItsLeastValue) {
  const LearningRate rate{.peak = 2, .min_ratio = 0.1, .warmup = 0, .total = 4, .shape = Shape::cosine};
  expect_rates(rate, {2, 1.7363961, 1.1, 0.4636039});  // 2 (0.1 + 0.45 (1 + cos(pi step / 4)))
  EXPECT_NEAR(rate.at(4), 0.2, 1e-12);
  expect_rates({.peak = 1, .warmup = 2, .total = 3, .shape = Shape::cosine}, {0.5, 1, 0.5});
}

TEST(LearningRate, StaysConstantAfterWarmUp) {
  expect_rates({.peak = 1, .warmup = 4, .total = 6, .shape = Shape::constant}, {0.25, 0.5, 0.75, 1, 1, 1});
  expect_rates({.peak = 1, .warmup = 0, .total = 2, .shape = Shape::constant}, {1, 1});
}

// get_linear_schedule_with_warmup: step / warmup, then (total - step) / (total - warmup).
TEST(LearningRate, OfTheReferenceDemoBeginsAtZero) {
  LearningRate rate{.peak = 8, .warmup = 2, .total = 10, .shape = Shape::linear, .first_step_zero = true};
  expect_rates(rate, {0, 4, 8, 7, 6, 5, 4, 3, 2, 1});
  rate.warmup = 0;
  expect_rates(rate, {8, 7.2, 6.4});
}

TEST(LearningRate, NeverPassesItsEnds) {
  for (const Shape shape : {Shape::constant, Shape::linear, Shape::cosine}) {
    for (const bool compat : {false, true}) {
      for (const std::int64_t warmup : {0, 1, 5, 7}) {
        const LearningRate rate{
            .peak = 1, .min_ratio = 0, .warmup = warmup, .total = 7, .shape = shape, .first_step_zero = compat};
        for (std::int64_t step = 0; step < 9; ++step) {
          EXPECT_GE(rate.at(step), 0.0);
          EXPECT_LE(rate.at(step), 1.0);
        }
      }
    }
  }
}

TEST(LearningRate, IsMadeOfTheSettings) {
  TrainConfig config;
  config.learning_rate = 0.5;
  config.min_lr_ratio = 0.25;
  config.warmup_ratio = 0.1;
  LearningRate rate = learning_rate(config, 171);
  EXPECT_EQ(rate.peak, 0.5);
  EXPECT_EQ(rate.min_ratio, 0.25);
  EXPECT_EQ(rate.warmup, 18);  // 17.1, rounded up
  EXPECT_EQ(rate.total, 171);
  EXPECT_EQ(rate.shape, Shape::linear);
  EXPECT_FALSE(rate.first_step_zero);
  config.lr_schedule = "cosine";
  EXPECT_EQ(learning_rate(config, 10).shape, Shape::cosine);
  config.lr_schedule = "constant";
  EXPECT_EQ(learning_rate(config, 10).shape, Shape::constant);
  config.preset = "demo-compat";
  EXPECT_TRUE(learning_rate(config, 10).first_step_zero);
}

TEST(TotalSteps, AreThoseAskedForOrEpochs) {
  TrainConfig config;
  EXPECT_EQ(total_steps(config, 171), 171);
  config.num_epochs = 1.5;
  EXPECT_EQ(total_steps(config, 10), 15);
  config.num_epochs = 0.01;
  EXPECT_EQ(total_steps(config, 10), 1);
  config.max_training_steps = 7;
  EXPECT_EQ(total_steps(config, 10), 7);
}

}  // namespace
}  // namespace sherd
