// The nearest change that fits, against the plan of the changed configuration: at its very bytes it is found, and with
// one byte less the next one is.
#include "fit.hpp"

#include <gtest/gtest.h>

#include "sherd/base/error.hpp"
#include "sherd/config/validate.hpp"

namespace sherd::app {
namespace {

constexpr std::int64_t kAnything = std::int64_t{1} << 60;

ModelConfig small_llama() {
  ModelConfig c;
  c.vocab_size = 512;
  c.hidden_size = 256;
  c.intermediate_size = 512;
  c.layers = 8;
  c.heads = c.kv_heads = 4;
  c.head_dim = 64;
  c.max_position = 512;
  return c;
}

class NearestFit : public ::testing::Test {
 protected:
  const NodeMap nodes = NodeMap::even(2, 1);
  TrainConfig config;

  void SetUp() override {
    config.sharding = "none";
    config.batch_size_per_device = 4;
    config.prefetch = 2;
    config.device = "cuda";
    validate(config, 2);
  }
  std::int64_t bytes(TrainConfig c, int ranks = 2) const {
    const MeshOptions mesh = mesh_options(c);
    const TrainingPlan plan = plan_training(small_llama(), rig_options(c), [&](Arena& persistent) {
      return Mesh::planned(NodeMap::even(ranks, 1), mesh, persistent);
    });
    return static_cast<std::int64_t>(plan.bytes());
  }
  std::string nearest(std::int64_t room, std::int64_t alone) const {
    return nearest_fit(config, small_llama(), nodes, room, alone);
  }
};

TEST_F(NearestFit, TakesWhatCostsLeastFirst) {
  TrainConfig changed = config;
  changed.sharding = "full";  // where prefetching takes memory
  config = changed;
  changed.prefetch = 1;
  EXPECT_EQ(nearest(bytes(changed), kAnything), "--prefetch 1");
  changed.master_weights = "split";
  EXPECT_EQ(nearest(bytes(changed), kAnything), "--prefetch 1 --master-weights split");
  changed.activation_checkpointing = "block";
  EXPECT_EQ(nearest(bytes(changed), kAnything), "--prefetch 1 --master-weights split --activation-checkpointing block");
  changed.batch_size_per_device = 2;
  changed.gradient_accumulation_steps = 2;
  EXPECT_EQ(nearest(bytes(changed), kAnything),
            "--prefetch 1 --master-weights split --activation-checkpointing block --batch-size-per-device 2 "
            "--gradient-accumulation-steps 2");
}

TEST_F(NearestFit, GivesUpTheMemoryOfAnotherAttention) {
  config.prefetch = 1;
  TrainConfig changed = config;
  config.attention = "auto";
  EXPECT_EQ(nearest(bytes(changed), kAnything), "--attention own");
  config.dtype = changed.dtype = "fp32";  // for which it has none, nor masters that could be split
  changed.activation_checkpointing = "block";
  EXPECT_EQ(nearest(bytes(changed), kAnything), "--activation-checkpointing block");
}

TEST_F(NearestFit, ShardsAndThenAsksForRanks) {
  TrainConfig changed = config;
  changed.prefetch = 1;
  changed.master_weights = "split";
  changed.activation_checkpointing = "block";
  changed.batch_size_per_device = 1;
  changed.gradient_accumulation_steps = 4;
  changed.sharding = "full";
  const std::string flags =
      "--prefetch 1 --master-weights split --activation-checkpointing block --batch-size-per-device 1 "
      "--gradient-accumulation-steps 4 --sharding full";
  const std::int64_t sharded = bytes(changed);
  EXPECT_EQ(nearest(sharded, sharded), flags);
  changed.moments_dtype = "bf16";
  EXPECT_EQ(nearest(bytes(changed), kAnything), flags + " --moments-dtype bf16");
  changed.moments_dtype = "8bit";
  const std::int64_t least = bytes(changed);
  EXPECT_EQ(nearest(least, kAnything), flags + " --moments-dtype 8bit");
  EXPECT_EQ(nearest(least - 1, bytes(changed, 8)),
            "8 ranks with such a GPU each, and " + flags + " --moments-dtype 8bit");
  EXPECT_EQ(nearest(1, 1), "");
}

TEST_F(NearestFit, KeepsToWhatItsModesAllow) {
  const NodeMap one = NodeMap::even(1, 1);
  config = {};
  config.batch_size_per_device = 4;
  config.device = "cuda";
  config.master_weights = "split";
  config.gradients_dtype = "bf16";
  config.moments_dtype = "8bit";
  validate(config, 1);
  // On one rank its gradients may be bf16; where more are needed, they are not.
  TrainConfig several = config;
  several.gradients_dtype = "fp32";
  several.activation_checkpointing = "block";
  several.batch_size_per_device = 1;
  several.gradient_accumulation_steps = 4;
  const std::int64_t room = bytes(several, 2);
  EXPECT_EQ(nearest_fit(config, small_llama(), one, 1, room),
            "2 ranks with such a GPU each, and --gradients-dtype fp32 --activation-checkpointing block "
            "--batch-size-per-device 1 --gradient-accumulation-steps 4");
  // The optimizer inside backward takes no accumulation, so its batch stays.
  config.max_grad_norm = 0;
  config.optimizer_in_backward = true;
  TrainConfig changed = config;
  changed.activation_checkpointing = "block";
  EXPECT_EQ(nearest_fit(config, small_llama(), one, bytes(changed, 1), kAnything), "--activation-checkpointing block");
  EXPECT_EQ(nearest_fit(config, small_llama(), one, 1, 1), "");
  // And it is what one rank is told to do.
  config = {};
  config.device = "cuda";
  validate(config, 1);
  changed = config;
  changed.master_weights = "split";
  changed.activation_checkpointing = "block";
  changed.gradients_dtype = "bf16";
  EXPECT_EQ(nearest_fit(config, small_llama(), one, bytes(changed, 1), kAnything),
            "--master-weights split --activation-checkpointing block --gradients-dtype bf16");
}

TEST_F(NearestFit, SaysThatADeviceOfItsOwnIsEnough) {
  EXPECT_EQ(nearest(1, bytes(config)), "a GPU for each rank");
}

}  // namespace
}  // namespace sherd::app
