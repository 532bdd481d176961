#include "sherd/config/validate.hpp"

#include <cmath>

#include "thrown.hpp"

namespace sherd {
namespace {

TrainConfig batch(std::int64_t per_device, std::int64_t accumulation, std::int64_t total) {
  TrainConfig c;
  c.batch_size_per_device = per_device;
  c.gradient_accumulation_steps = accumulation;
  c.total_batch_size = total;
  return c;
}

TEST(Validate, SettlesTheBatch) {
  TrainConfig c = batch(1, 0, 64);  // the reference demo on four ranks
  validate(c, 4);
  EXPECT_EQ(c.gradient_accumulation_steps, 16);
  EXPECT_EQ(c.total_batch_size, 64);
  c = batch(2, 3, 0);
  validate(c, 4);
  EXPECT_EQ(c.total_batch_size, 24);
  c = batch(2, 0, 0);
  validate(c, 3);
  EXPECT_EQ(c.gradient_accumulation_steps, 1);
  EXPECT_EQ(c.total_batch_size, 6);
  validate(c, 3);  // what is settled stays
  EXPECT_EQ(c.total_batch_size, 6);
}

TEST(Validate, RefusesABatchThatTheRanksDoNotDivide) {
  TrainConfig c = batch(2, 0, 64);
  EXPECT_THROWS(
      validate(c, 5), ExitCode::usage,
      "total-batch-size is 64, no multiple of batch-size-per-device 2 x 5 ranks = 10; the nearest that fit: 60 or 70");
  c = batch(1, 0, 12);
  EXPECT_THROWS(validate(c, 16), ExitCode::usage, "the nearest that fit: 16");
  c = batch(2, 3, 64);
  EXPECT_THROWS(validate(c, 4), ExitCode::usage, "x gradient-accumulation-steps 3 = 24");
  EXPECT_THROWS(validate(c, 4), ExitCode::usage, "set gradient-accumulation-steps to 8");
}

TEST(Validate, ShardSize) {
  TrainConfig c;
  c.sharding = "hybrid";
  c.shard_size = 2;
  validate(c, 4);
  EXPECT_THROWS(validate(c, 5), ExitCode::usage, "shard-size is 2, and 5 ranks are no multiple");
  c.sharding = "full";
  EXPECT_THROWS(validate(c, 4), ExitCode::usage, "shard-size is 2 with sharding full");
}

TEST(Validate, RangesAndChoices) {
  const auto refuses = [](auto member, auto value, const std::string& part) {
    TrainConfig c;
    c.*member = value;
    EXPECT_THROWS(validate(c, 1), ExitCode::usage, part);
  };
  refuses(&TrainConfig::batch_size_per_device, 0, "batch-size-per-device is \"0\"; an integer from 1 to 2147483647");
  refuses(&TrainConfig::max_seq_length, 1, "max-seq-length is \"1\"; an integer from 2");
  refuses(&TrainConfig::seed, -1, "seed is \"-1\"");
  refuses(&TrainConfig::adam_beta1, 1.0, "adam-beta1 is \"1\"; a number from 0 to 0.999999999");
  refuses(&TrainConfig::adam_eps, 0.0, "adam-eps");
  refuses(&TrainConfig::warmup_ratio, 1.5, "warmup-ratio is \"1.5\"; a number from 0 to 1");
  refuses(&TrainConfig::learning_rate, std::nan(""), "learning-rate is \"nan\"");
  refuses(&TrainConfig::learning_rate, INFINITY, "learning-rate is \"inf\"");
  refuses(&TrainConfig::sharding, "zero3", "sharding is \"zero3\"; none, full or hybrid is expected");
  refuses(&TrainConfig::dtype, "fp16", "dtype is \"fp16\"; fp32 or bf16 is expected");
  refuses(&TrainConfig::lr_schedule, "step", "lr-schedule is \"step\"; linear, cosine or constant");
  refuses(&TrainConfig::device, "tpu", "device");
  refuses(&TrainConfig::preset, "fast", "preset");
  refuses(&TrainConfig::activation_checkpointing, "some", "activation-checkpointing is \"some\"");
  refuses(&TrainConfig::moments_dtype, "fp16", "moments-dtype is \"fp16\"; fp32, bf16 or 8bit is expected");
}

TEST(Validate, MemoryModes) {
  TrainConfig good;
  good.moments_dtype = "8bit";
  good.master_weights = "split";
  good.gradients_dtype = "bf16";
  good.optimizer_in_backward = true;
  good.max_grad_norm = 0;
  TrainConfig settled = good;
  EXPECT_NO_THROW(validate(settled, 1));
  const auto refuses = [&](auto TrainConfig::*field, auto value, int ranks, const char* part) {
    TrainConfig c = good;
    c.*field = value;
    EXPECT_THROWS(validate(c, ranks), ExitCode::usage, part);
  };
  refuses(&TrainConfig::max_grad_norm, 1.0, 1, "take --max-grad-norm 0");
  refuses(&TrainConfig::gradient_accumulation_steps, 2, 1, "this step has 2 of them");
  refuses(&TrainConfig::total_batch_size, 8, 1, "with a --total-batch-size of 1");
  refuses(&TrainConfig::dtype, "fp32", 1, "--master-weights split needs --dtype bf16");
  refuses(&TrainConfig::gradients_dtype, "bf16", 4, "is for one rank, and there are 4");
  good.master_weights = "fp32";
  refuses(&TrainConfig::dtype, "fp32", 1, "--gradients-dtype bf16 needs --dtype bf16");
}

TEST(Validate, ActivationCheckpointing) {
  using Mode = ActivationCheckpointing::Mode;
  EXPECT_EQ(parse_activation_checkpointing("none"), (ActivationCheckpointing{Mode::none, 1}));
  EXPECT_EQ(parse_activation_checkpointing("selective"), (ActivationCheckpointing{Mode::selective, 1}));
  EXPECT_EQ(parse_activation_checkpointing("block"), (ActivationCheckpointing{Mode::block, 1}));
  EXPECT_EQ(parse_activation_checkpointing("every-4"), (ActivationCheckpointing{Mode::every, 4}));
  for (const char* bad : {"every-", "every-0", "every--1", "every-4x", "every-1001", "every-k", "", "Block"}) {
    EXPECT_THROWS(parse_activation_checkpointing(bad), ExitCode::usage, "every-K (K from 1 to 1000) is expected");
  }
}

TEST(Validate, Plan) {
  PlanConfig c;
  c.ranks = 8;
  c.nodes = 2;
  c.train.total_batch_size = 64;
  validate(c);
  EXPECT_EQ(c.train.gradient_accumulation_steps, 8);
  c.nodes = 3;
  EXPECT_THROWS(validate(c), ExitCode::usage, "ranks is 8 and nodes is 3");
}

}  // namespace
}  // namespace sherd
