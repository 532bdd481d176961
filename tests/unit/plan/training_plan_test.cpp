// The plan of a model that this machine could not hold, against counts by hand. (tests/training compares the plan of
// small models with their runs, to the byte.)
#include "sherd/plan/training_plan.hpp"
#include "../../figure.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "sherd/ops/backend.hpp"

namespace sherd {
namespace {

/// CodeLlama 7B.
ModelConfig code_llama() {
  ModelConfig c;
  c.vocab_size = 32016;
  c.hidden_size = 4096;
  c.intermediate_size = 11008;
  c.layers = 32;
  c.heads = c.kv_heads = 32;
  c.head_dim = 128;
  c.max_position = 16384;
  return c;
}
constexpr double kParameters = 6738546688;
constexpr double kMatrices = kParameters - 32016 * 4096 - 65 * 4096;  // without the embedding and the norms

TrainingPlan plan_of(const std::string& strategy, int ranks, int nodes, const std::string& checkpointing = "none") {
  TrainConfig config;
  config.sharding = strategy;
  config.activation_checkpointing = checkpointing;
  config.gradient_accumulation_steps = 1;
  MeshOptions mesh;
  mesh.strategy = strategy;
  return plan_training(code_llama(), rig_options(config),
                       [&](Arena& persistent) { return Mesh::planned(NodeMap::even(ranks, nodes), mesh, persistent); });
}

TEST(TrainingPlan, CountsProductsAndAttention) {
  ASSERT_EQ(static_cast<double>(code_llama().parameters()), kParameters);
  const TrainingPlan plan = plan_of("full", 8, 2);
  EXPECT_EQ(plan.ops.product_flops, 6 * kMatrices * 512);            // forward once, backward twice
  EXPECT_EQ(plan.ops.attention_flops, 7.0 * 32 * 512 * 512 * 4096);  // 2 products forward, 5 backward, half of each
  const TrainingPlan twice = plan_of("full", 8, 2, "block");         // forward of all blocks again but the head
  EXPECT_GT(twice.ops.product_flops, 7.5 * kMatrices * 512);
  EXPECT_LT(twice.ops.product_flops, 8.0 * kMatrices * 512);
  EXPECT_LT(twice.activation_bytes, plan.activation_bytes / 4);
}

/// Two blocks with two heads, one of them for keys.
ModelConfig two_blocks(std::int64_t vocabulary, std::int64_t width, std::int64_t feed_forward, std::int64_t head) {
  ModelConfig c;
  c.vocab_size = vocabulary;
  c.hidden_size = width;
  c.intermediate_size = feed_forward;
  c.layers = 2;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = head;
  return c;
}
TrainingPlan plan_on_one_rank(const ModelConfig& model, const RigOptions& options) {
  return plan_training(model, options, [](Arena& a) { return Mesh::planned(NodeMap::even(1, 1), {}, a); });
}

/// Blocks of width 8; 3 x 10 tokens a micro-batch.
TrainingPlan small_plan(DType dtype, Recompute recompute, std::int64_t accumulation = 2) {
  RigOptions options;
  options.shard.param_dtype = dtype;
  options.step.act = dtype;
  options.step.batch = 3;
  options.step.length = 10;
  options.step.accumulation = accumulation;
  options.step.loss_chunk = 7;
  options.step.recompute = recompute;
  return plan_on_one_rank(two_blocks(12, 8, 16, 4), options);
}

void expect_bytes_by_hand(std::int64_t accumulation) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const StepWork work = small_plan(dtype, {Recompute::Mode::none, 1}, accumulation).ops.work;
    const double e = dtype == DType::f32 ? 4 : 2;               // bytes of an activation or a parameter
    const double A = static_cast<double>(accumulation), L = 2;  // micro-batches, blocks
    const double N = 30, C = 8, F = 16, V = 12, T = 10;
    const double heads = 3 * 4, f32 = 4;  // columns of queries and keys
    const auto bytes = [&](const char* op) { return work.contains(op) ? work.find(op)->second.bytes : -1; };
    const auto calls = [&](const char* op) { return work.contains(op) ? work.find(op)->second.calls : -1; };
    EXPECT_EQ(bytes("embedding"), A * (4 * N + 2 * N * C * e));
    EXPECT_EQ(bytes("embedding_grad"), A * (4 * N + N * C * e + 2 * V * C * f32));  // 12 tokens, fewer than 30
    EXPECT_EQ(bytes("rmsnorm"), A * (2 * N * C * e + C * e + N * f32));             // of the first block
    EXPECT_EQ(bytes("rmsnorm_residual"), A * 2 * L * (4 * N * C * e + C * e + N * f32));
    EXPECT_EQ(calls("rmsnorm_grad"), A * (2 * L + 1));
    const double gain_grads = 1 + 2 * (A - 1);  // the first micro-batch writes the gains' gradients, others add to them
    EXPECT_EQ(bytes("rmsnorm_grad"), (2 * L + 1) * (A * (4 * N * C * e + C * e + N * f32) + gain_grads * C * f32));
    EXPECT_EQ(bytes("rope"), A * L * (2 * N * heads * e + 4 * N + T * 4 * f32));
    EXPECT_EQ(bytes("rope_inverse"), bytes("rope"));
    EXPECT_EQ(bytes("swiglu"), A * L * 3 * N * F * e);
    EXPECT_EQ(bytes("swiglu_grad"), A * L * 5 * N * F * e);
    EXPECT_EQ(bytes("cross_entropy_loss"), A * (N * V * (f32 + e) + 4 * N));
    const double block = C * C * 2 + C * (2 * 1 * 4) + 3 * C * F + 2 * C, parameters = 2 * V * C + C + L * block;
    EXPECT_EQ(bytes("adamw"), parameters * (6 * f32 + f32 + (dtype == DType::f32 ? 0 : e)));
    EXPECT_GE(bytes("squared_norm"), parameters * f32);  // with padding
    EXPECT_EQ(bytes("download"), 3 * f32);
    EXPECT_EQ(bytes("linear"), 0);
    EXPECT_EQ(calls("linear"), A * L * 4);
    EXPECT_EQ(calls("linear_cross_entropy"), A * 3 * 5);  // chunks of 7 rows
    for (const auto& [op, one] : work) EXPECT_NE(kind_of(op), OpKind::other) << op;
  }
}

TEST(TrainingPlan, CountsTheBytesOfAllOtherOperations) {
  expect_bytes_by_hand(2);
}

TEST(TrainingPlan, CountsAMillionMicroBatchesByAFew) {
  expect_bytes_by_hand(1000000);
}

/// Bytes of `quantize` in a micro-batch of 32 tokens, with blocks of width 16, feed-forward 48 and heads of 16.
double bytes_of_codes(Recompute recompute) {
  RigOptions options;
  options.shard.param_dtype = options.step.act = DType::bf16;
  options.step.fp8 = true;
  options.step.batch = 2;
  options.step.length = 16;
  options.step.recompute = recompute;
  return plan_on_one_rank(two_blocks(16, 16, 48, 16), options).ops.work.find("quantize")->second.bytes;
}

/// An element in bf16 is read to find the scale and again to make codes of one byte, in one layout or two; only once
/// where its scale is known. Four bytes of scale each time.
TEST(TrainingPlan, CountsTheBytesOfCodes) {
  constexpr double kN = 32, kFound = 2 + 2 + 1, kGiven = 2 + 1, kBothLayouts = 2 + 2 + 2, kScale = 4;
  constexpr double kIn[] = {16, 32, 16, 48}, kOut[] = {64, 16, 96, 16};  // of qkv, o, gate and up, down
  double read = 0, gradients = 0, both = 2 * kScale;                     // of one block
  for (int p = 0; p < 4; ++p) {
    read += kN * kIn[p] + kIn[p] * kOut[p];
    gradients += kN * kOut[p];
  }
  const double down = (kN * kIn[3] + kIn[3] * kOut[3]) * kGiven + both;
  const double forward = read * kFound + 4 * both, again = read * kGiven + 4 * both;
  const double backward = again + gradients * kBothLayouts + 4 * kScale;
  EXPECT_EQ(bytes_of_codes({Recompute::Mode::none, 1}), 2 * (forward + backward));
  EXPECT_EQ(bytes_of_codes({Recompute::Mode::selective, 1}), 2 * (forward + backward));
  // The last block of a segment is computed again without its last product.
  EXPECT_EQ(bytes_of_codes({Recompute::Mode::segments, 1}), 2 * (forward + again - down + backward));
  EXPECT_EQ(bytes_of_codes({Recompute::Mode::segments, 2}), 2 * (forward + again + backward) - down);
}

TEST(TrainingPlan, CountsByOperationWhatItCountsInAll) {
  const PlannedOps ops = small_plan(DType::bf16, {Recompute::Mode::selective, 1}).ops;
  EXPECT_DOUBLE_EQ(total(ops.work).flops, ops.product_flops + ops.attention_flops);
  EXPECT_EQ(total(ops.work).calls, ops.calls);
  EXPECT_EQ(ops.work.find("attention")->second.flops + ops.work.find("attention_grad")->second.flops,
            ops.attention_flops);
  const StepWork none = small_plan(DType::bf16, {Recompute::Mode::none, 1}).ops.work;
  EXPECT_EQ(total(ops.work).flops, total(none).flops);  // selective recomputes norms and SwiGLU
  EXPECT_EQ(ops.work.find("swiglu")->second.bytes, 2 * none.find("swiglu")->second.bytes);
}

TEST(TrainingPlan, HoldsEighteenBytesAParameterOverTheShardGroup) {
  const auto persistent = [](const std::string& strategy, int ranks, int nodes) {
    return static_cast<double>(plan_of(strategy, ranks, nodes).persistent_bytes);
  };
  const double block = kMatrices / 32;  // about: two slots of weights in bf16 and of gradients in f32 are 12 of these
  for (const int ranks : {8, 64}) {
    EXPECT_GT(persistent("full", ranks, ranks / 4), 18 * kParameters / ranks);
    EXPECT_LT(persistent("full", ranks, ranks / 4), 18 * kParameters / ranks + 20 * block);
  }
  EXPECT_NEAR(persistent("hybrid", 64, 8) / persistent("full", 8, 1), 1, 1e-3);
  EXPECT_NEAR(persistent("none", 64, 8), 18 * kParameters, 0.01 * 18 * kParameters);
}

/// What a setting saves, in bytes per parameter, on one rank and on eight; padding has states, too, of at most 1%.
TEST(TrainingPlan, HoldsFewerBytesAParameterInTheMemoryModes) {
  const auto persistent = [](int ranks, const std::function<void(TrainConfig&)>& change) {
    TrainConfig config;
    config.gradient_accumulation_steps = 1;
    change(config);
    return static_cast<double>(plan_training(code_llama(), rig_options(config), [&](Arena& a) {
                                 return Mesh::planned(NodeMap::even(ranks, 1), {}, a);
                               }).persistent_bytes);
  };
  struct Saving {
    const char* name;
    std::function<void(TrainConfig&)> change;
    double bytes;
  };
  const Saving savings[] = {
      {"moments in bf16", [](TrainConfig& c) { c.moments_dtype = "bf16"; }, 4},
      {"moments in 8 bits", [](TrainConfig& c) { c.moments_dtype = "8bit"; }, 6 - 8.0 / 128},  // but for their scales
      {"masters split", [](TrainConfig& c) { c.master_weights = "split"; }, 2},
      {"gradients in bf16", [](TrainConfig& c) { c.gradients_dtype = "bf16"; }, 2},
  };
  for (const int ranks : {1, 8}) {
    for (const Saving& saving : savings) {
      if (ranks > 1 && saving.name == std::string("gradients in bf16")) continue;
      const double less = (persistent(ranks, [](TrainConfig&) {}) - persistent(ranks, saving.change)) * ranks;
      EXPECT_GE(less, saving.bytes * kParameters * 0.9999) << saving.name;
      EXPECT_LT(less, saving.bytes * kParameters * 1.0001) << saving.name;
    }
  }
  // Of the gradients, those of the largest unit of each shape are left: embedding, block and head.
  const double inside = persistent(1, [](TrainConfig& c) { c.optimizer_in_backward = true; });
  const double left = 32016.0 * 4096 * 2 + 4096 + 202383360.0;
  EXPECT_NEAR(persistent(1, [](TrainConfig&) {}) - inside, 4 * (kParameters - left), 1e6);
}

TEST(TrainingPlan, SaysWhatItsStatesAre) {
  const auto states = [](const char* dtype, const char* masters, const char* moments, int ranks) {
    TrainConfig config;
    config.gradient_accumulation_steps = 1;
    config.dtype = dtype;
    config.master_weights = masters;
    config.moments_dtype = moments;
    return plan_training(code_llama(), rig_options(config),
                         [&](Arena& a) { return Mesh::planned(NodeMap::even(ranks, 1), {}, a); })
        .states;
  };
  const auto near = [](std::int64_t bytes, double each) {
    EXPECT_NEAR(static_cast<double>(bytes), each * kParameters, 1e-4 * each * kParameters + 1);
  };
  const StateBytes one = states("bf16", "fp32", "fp32", 1);
  near(one.weights, 2), near(one.masters, 4), near(one.moments, 8), near(one.gradients, 4), near(one.slots, 0);
  const StateBytes exact = states("fp32", "fp32", "fp32", 1);
  near(exact.weights, 0), near(exact.masters, 4);
  const StateBytes small = states("bf16", "split", "8bit", 4);
  near(small.weights, 0.5), near(small.masters, 0.5), near(small.moments, (2 + 8.0 / 128) / 4),
      near(small.gradients, 1);
  // Two slots of embedding, block and head each, of weights in bf16 and of gradients in f32.
  EXPECT_GT(small.slots, std::int64_t{2} * 202383360 * 6);
}

/// CodeLlama-7B, 8,192 tokens a micro-batch, on one device: what is short of memory and what is not.
TEST(TrainingPlan, SaysWhichModesOf7BFitOneDevice) {
  const auto gib = [](const std::function<void(TrainConfig&)>& change) {
    TrainConfig config;
    config.device = "cuda";
    config.max_seq_length = 2048;
    config.batch_size_per_device = 4;
    config.gradient_accumulation_steps = 2;
    change(config);
    const TrainingPlan plan = plan_training(code_llama(), rig_options(config),
                                            [](Arena& a) { return Mesh::planned(NodeMap::even(1, 1), {}, a); });
    return static_cast<double>(plan.bytes()) / (1 << 30);
  };
  const double whole = gib([](TrainConfig&) {});
  const double h200 = gib([](TrainConfig& c) { c.gradients_dtype = "bf16"; });
  const double h100 = gib([](TrainConfig& c) {
    c.gradients_dtype = "bf16";
    c.master_weights = "split";
    c.moments_dtype = "8bit";
  });
  const double inside = gib([](TrainConfig& c) {
    c.gradient_accumulation_steps = 1;
    c.gradients_dtype = "bf16";
    c.master_weights = "split";
    c.moments_dtype = "bf16";
    c.optimizer_in_backward = true;
  });
  test::figure(
      "CodeLlama-7B, 8,192 tokens a micro-batch: {:.1f} GiB with fp32 states and gradients, {:.1f} with bf16 gradients "
      "(an H200 has 139), {:.1f} with split masters and 8-bit moments as well (an H100 has 78), {:.1f} with bf16 "
      "moments "
      "and the optimizer inside backward",
      whole, h200, h100, inside);
  EXPECT_LT(h200, 139);
  EXPECT_LT(h100, 78);
  EXPECT_LT(inside, 78);
}

TEST(TrainingPlan, HoldsTheWorkspaceOfTheBackend) {
  const auto persistent = [](std::int64_t workspace_bytes) {
    TrainConfig config;
    config.gradient_accumulation_steps = 1;
    RigOptions options = rig_options(config);
    Backend backend = *options.backend;
    backend.workspace_bytes = workspace_bytes;
    options.backend = &backend;
    return plan_training(code_llama(), options, [](Arena& a) { return Mesh::planned(NodeMap::even(1, 1), {}, a); })
        .persistent_bytes;
  };
  EXPECT_EQ(persistent(5 << 20) - persistent(1 << 20), std::size_t{4} << 20);
  TrainConfig config;
  for (const char* device : {"auto", "cpu", "cuda"}) {
    config.device = device;
    EXPECT_EQ(rig_options(config).backend, &backend_of(device));
  }
}

TEST(LogitsRows, AreManyOnAGpuAndFitTheirMemory) {
  EXPECT_EQ(logits_rows(backend_of("cpu"), 32016), 256);
  EXPECT_EQ(logits_rows(backend_of("cuda"), 32016), 4096);
  EXPECT_EQ(logits_rows(backend_of("cuda"), 128256), 1024);  // of 6 bytes each: 789 of 805 MB
  EXPECT_EQ(logits_rows(backend_of("cuda"), std::int64_t{1} << 30), 1);
  Backend small = backend_of("cuda");
  small.most_logits_bytes = 6 * 100 * 10;
  EXPECT_EQ(logits_rows(small, 100), 10);
}

TEST(TrainingPlan, NotesTheAttentionsInBf16AndHoldsTheirSlabIfItMayBeUsed) {
  const auto plan = [](const char* device, const char* dtype, const char* attention) {
    TrainConfig config;
    config.gradient_accumulation_steps = 1;
    config.batch_size_per_device = 2;
    config.device = device;
    config.dtype = dtype;
    config.attention = attention;
    return plan_training(code_llama(), rig_options(config),
                         [](Arena& a) { return Mesh::planned(NodeMap::even(1, 1), {}, a); });
  };
  const TrainingPlan own = plan("cuda", "bf16", "own"), chosen = plan("cuda", "bf16", "auto");
  const Heads heads{32, 32, 128};
  EXPECT_EQ(chosen.ops.attentions, (std::set<AttentionKey>{{2, 512, heads, 0}}));
  EXPECT_EQ(own.ops.attentions, chosen.ops.attentions);
  EXPECT_EQ(chosen.persistent_bytes - own.persistent_bytes,
            static_cast<std::size_t>(backend_of("cuda").attention_slab_bytes(2, 512, heads)));
  EXPECT_EQ(chosen.activation_bytes, own.activation_bytes);
  EXPECT_TRUE(plan("cuda", "fp32", "auto").ops.attentions.empty());
  EXPECT_EQ(plan("cuda", "fp32", "auto").persistent_bytes, plan("cuda", "fp32", "own").persistent_bytes);
  EXPECT_EQ(plan("cpu", "bf16", "auto").persistent_bytes, plan("cpu", "bf16", "own").persistent_bytes);
}

}  // namespace
}  // namespace sherd
