// The trainer on CUDA, or on the emulation of it, beside the trainer on the CPU: the same code but for what lies below
// Ops, Stream and Communicator. Skipped without a device: tests/backend/cuda.cpp is linked.
#include <gtest/gtest.h>

#include <cmath>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

RunSpec on(const std::string& backend, RunSpec spec = {}) {
  spec.backend = backend;
  return spec;
}
RunSpec alone(RunSpec spec) {
  spec.alone = true;
  return spec;
}

/// The largest difference between two losses of one step, in relation to the loss.
double distance(const RunResult& a, const RunResult& b) {
  EXPECT_EQ(a.losses.size(), b.losses.size());
  double worst = std::abs(a.evaluation - b.evaluation) / b.evaluation;
  for (std::size_t i = 0; i < b.losses.size(); ++i)
    worst = std::max(worst, std::abs(a.losses[i] - b.losses[i]) / b.losses[i]);
  return worst;
}

TEST(CudaTraining, FollowsTheCpusLossesInFp32) {
  const double worst = distance(run_training(on("cuda")), run_training(alone(on("cpu"))));
  EXPECT_LT(worst, 1e-5);
  figure("cuda training, fp32, {} ranks: losses of 20 steps differ from the CPU's by {:.2g}, at most 1e-5",
         session().size(), worst);
}

TEST(CudaTraining, FollowsTheCpusLossesInBf16) {
  RunSpec spec;
  spec.aligned = true;
  spec.global_batch = 4;
  spec.dtype = DType::bf16;
  spec.steps = 50;
  spec.layers = 2;
  const double worst = distance(run_training(on("cuda", spec)), run_training(on("cpu", spec)));
  EXPECT_LT(worst, 2e-2);
  figure("cuda training, bf16, {} ranks: losses of 50 steps differ from the CPU's by {:.2g}, at most 2e-2",
         session().size(), worst);
}

/// Another order of sums takes an element to another bf16, and that one now and then to another code, an eighth of it
/// away: the bounds are wider than in bf16. (Codes and products by themselves are equal, in emulated_ops_test.)
TEST(CudaTraining, FollowsTheCpusLossesInFp8) {
  RunSpec spec;
  spec.aligned = true;
  spec.length = 32;
  spec.global_batch = 4;
  spec.dtype = DType::bf16;
  spec.fp8 = true;
  spec.steps = 10;
  spec.layers = 2;
  const RunResult ours = run_training(on("cuda", spec)), theirs = run_training(on("cpu", spec));
  EXPECT_GT(ours.plan.ops.f8_flops, 0);
  EXPECT_EQ(ours.activation_bytes, ours.plan.activation_bytes);
  const double first = std::abs(ours.losses[0] / theirs.losses[0] - 1), worst = distance(ours, theirs);
  EXPECT_LT(first, 1e-2);
  EXPECT_LT(worst, 5e-2);
  figure("cuda training, fp8, {} ranks: the first loss differs from the CPU's by {:.2g}, those of 10 steps by {:.2g}",
         session().size(), first, worst);
}

/// Other shardings and checkpointing modes, each against one rank.
TEST(CudaTraining, DoesNotDependOnTheSharding) {
  for (const Recompute recompute : {Recompute{Recompute::Mode::selective, 1}, Recompute{Recompute::Mode::segments, 2}})
    for (const bool tied : {false, true})
      for (const std::string strategy : {"none", "full", "hybrid"}) {
        RunSpec spec;
        spec.steps = 2;
        spec.global_batch = 4;
        spec.strategy = strategy;
        spec.shard_size = strategy == "hybrid" ? 1 : 0;
        spec.tied = tied;
        spec.recompute = recompute;
        EXPECT_LT(distance(run_training(on("cuda", spec)), run_training(alone(on("cpu", spec)))), 1e-5) << strategy;
      }
}

TEST(CudaTraining, RepeatsItsBits) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    RunSpec spec;
    spec.aligned = dtype == DType::bf16;
    spec.steps = 3;
    spec.global_batch = 4;
    spec.dtype = dtype;
    const RunResult a = run_training(on("cuda", spec)), b = run_training(on("cuda", spec));
    EXPECT_EQ(a.losses, b.losses);
    EXPECT_EQ(a.state_hash, b.state_hash);
  }
}

TEST(CudaTraining, FollowsTheCpusLossesWithMomentsInBf16) {
  RunSpec spec;
  spec.steps = 5;
  spec.layers = 2;
  spec.global_batch = 4;
  spec.moments_dtype = DType::bf16;
  const RunResult a = run_training(on("cuda", spec)), b = run_training(on("cuda", spec));
  EXPECT_EQ(a.state_hash, b.state_hash);
  const double worst = distance(a, run_training(on("cpu", spec)));
  EXPECT_LT(worst, 1e-4);  // where a moment is near to a bf16, another order of sums takes it to the other side
  figure("cuda training, moments in bf16, {} ranks: losses of 5 steps differ from the CPU's by {:.2g}, at most 1e-4",
         session().size(), worst);
}

TEST(CudaTraining, TakesTheMemoryThatWasPlanned) {
  RunSpec spec;
  spec.moments_dtype = DType::bf16;
  spec.steps = 1;
  const RunResult r = run_training(on("cuda", spec));
  EXPECT_EQ(r.persistent_bytes, r.plan.persistent_bytes);
  EXPECT_EQ(r.activation_bytes, r.plan.activation_bytes);
}

TEST(CudaTraining, SendsWhatTheCpuSends) {
  RunSpec spec;
  spec.steps = 2;
  const RunResult a = run_training(on("cuda", spec)), b = run_training(on("cpu", spec));
  EXPECT_EQ(a.shard.bytes_sent(), b.shard.bytes_sent());
  EXPECT_EQ(a.replicate.bytes_sent(), b.replicate.bytes_sent());
  EXPECT_EQ(a.world.bytes_sent(), b.world.bytes_sent());
}

/// What a step enqueues on one rank is the same in every step, but for what travels in device memory.
TEST(CudaTraining, RecordedWorkGivesTheBitsOfWorkThatIsEnqueued) {
  if (session().size() > 1) GTEST_SKIP() << "one rank records";
  RunSpec several, reduced;
  several.global_batch = 3;
  reduced.batch = reduced.global_batch = 2;
  reduced.max_grad_norm = 0;
  reduced.dtype = reduced.grad_dtype = DType::bf16;
  reduced.moments_dtype = DType::u8;
  reduced.split_master = reduced.optimizer_in_backward = true;
  for (RunSpec spec : {several, reduced}) {
    spec.steps = 5;
    spec.layers = 2;
    spec.record = false;
    const RunResult enqueued = run_training(on("cuda", spec));
    spec.record = true;
    for (const bool ahead : {false, true}) {
      spec.ahead = ahead;
      const RunResult recorded = run_training(on("cuda", spec));
      EXPECT_EQ(recorded.losses, enqueued.losses);
      EXPECT_EQ(recorded.norms, enqueued.norms);
      EXPECT_EQ(recorded.state_hash, enqueued.state_hash);
      EXPECT_EQ(recorded.evaluation, enqueued.evaluation);
    }
  }
}

TEST(CudaTraining, ReducedStatesFollowTheCpus) {
  RunSpec spec;
  spec.aligned = true;
  spec.dtype = DType::bf16;
  spec.batch = spec.global_batch / session().size();
  spec.max_grad_norm = 0;
  spec.steps = 10;
  spec.layers = 2;
  spec.moments_dtype = DType::u8;
  spec.split_master = spec.optimizer_in_backward = true;
  const double worst = distance(run_training(on("cuda", spec)), run_training(on("cpu", spec)));
  EXPECT_LT(worst, 2e-2);
  figure("cuda training, split masters, 8-bit moments, {} ranks: losses of 10 steps differ from the CPU's by {:.2g}",
         session().size(), worst);
}

TEST(RepeatedWork, IsRunRecordedAndStarted) {
  for (const std::string backend : {"cpu", "cuda"}) {
    const TestRig test(alone(on(backend)));
    Rig& rig = test.rig();
    Arena arena = test.device().arena("test", 4096);
    const Tensor one = arena.take(DType::f32, {1}), sum = arena.take(DType::f32, {1});
    rig.ops().fill(one, 1, rig.compute());
    rig.ops().fill(sum, 0, rig.compute());
    RepeatedWork work;
    int calls = 0;
    for (int i = 0; i < 5; ++i) {
      work.run(rig.compute(), [&] {
        ++calls;
        rig.ops().add(one, sum, rig.compute());
      });
    }
    float found = 0;
    rig.ops().download(sum, std::as_writable_bytes(std::span(&found, 1)), rig.compute());
    rig.compute().synchronize();
    EXPECT_EQ(found, 5) << backend;
    EXPECT_EQ(calls, backend == "cuda" ? 2 : 5) << backend;  // a CPU records nothing
  }
}

}  // namespace
}  // namespace sherd::test
