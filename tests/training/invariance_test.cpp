// A run is a function of its configuration, not of its world size, its sharding, its accumulation, its checkpointing or
// the order in which streams happen to run (law 10).
#include <gtest/gtest.h>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

/// The largest relative difference of losses that a test has seen, and over how many runs.
struct Spread {
  double worst = 0;
  int runs = 0;
  void print(const char* over, double bound) const {
    if (session().rank() != 0) return;
    figure("invariance on {} ranks, {}: losses of {} runs differ by {:.2g} of at most {:.2g}", session().size(), over,
           runs, worst, bound);
  }
};

void expect_same_losses(const RunResult& a, const RunResult& b, double tolerance, Spread& spread) {
  ASSERT_EQ(a.losses.size(), b.losses.size());
  ++spread.runs;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    spread.worst = std::max(spread.worst, std::abs(a.losses[i] / b.losses[i] - 1));
    EXPECT_NEAR(a.losses[i] / b.losses[i], 1, tolerance) << "loss of step " << i;
    EXPECT_NEAR(a.norms[i] / b.norms[i], 1, 10 * tolerance) << "gradient norm of step " << i;
  }
  EXPECT_NEAR(a.evaluation / b.evaluation, 1, tolerance);
}

/// One rank, no peers, all sequences in one micro-batch.
RunResult reference(bool tied) {
  RunSpec spec;
  spec.alone = true;
  spec.strategy = "none";
  spec.batch = 12;
  spec.tied = tied;
  return run_training(spec);
}

TEST(Invariance, LossesFallAndAreThoseOfOneRankUnderEveryStrategyAndAccumulation) {
  Spread spread;
  for (const bool tied : {false, true}) {
    const RunResult expected = reference(tied);
    ASSERT_LT(expected.losses.back(), 0.95 * expected.losses.front());
    const int world = session().size();
    for (const std::string strategy : {"none", "full", "hybrid"}) {
      if (strategy == "hybrid" && world % 2 != 0) continue;
      for (const std::int64_t batch : {std::int64_t{1}, 12 / static_cast<std::int64_t>(world)}) {
        SCOPED_TRACE(strategy + (tied ? ", tied" : "") + ", B = " + std::to_string(batch));
        RunSpec spec;
        spec.strategy = strategy;
        spec.tied = tied;
        spec.batch = batch;
        spec.nodes = strategy == "hybrid" ? 2 : 1;
        expect_same_losses(run_training(spec), expected, 1e-5, spread);
      }
    }
  }
  spread.print("every strategy, with and without accumulation", 1e-5);
}

TEST(Invariance, EveryShardSizeThatDivides) {
  Spread spread;
  const RunResult expected = reference(false);
  for (int size = 1; size <= session().size(); ++size) {
    if (session().size() % size != 0) continue;
    SCOPED_TRACE(size);
    RunSpec spec;
    spec.strategy = "hybrid";
    spec.shard_size = size;
    expect_same_losses(run_training(spec), expected, 1e-5, spread);
  }
  spread.print("every shard size", 1e-5);
}

TEST(Invariance, MoreMicroBatchesThanASmallAllReduceHasElements) {
  RunSpec spec;
  spec.layers = 1;
  spec.length = 4;
  spec.steps = 1;
  spec.global_batch = 1025 * session().size();
  const RunResult found = run_training(spec);
  EXPECT_TRUE(std::isfinite(found.losses.at(0)));
}

TEST(Invariance, EveryCheckpointingModeGivesTheSameBits) {
  int runs = 0;
  for (const bool tied : {false, true}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      RunSpec spec;
      spec.tied = tied;
      spec.dtype = dtype;
      spec.layers = 5;
      spec.steps = 4;
      const RunResult expected = run_training(spec);
      for (const Recompute recompute :
           {Recompute{Recompute::Mode::selective, 1}, Recompute{Recompute::Mode::segments, 1},
            Recompute{Recompute::Mode::segments, 2}, Recompute{Recompute::Mode::segments, 3},
            Recompute{Recompute::Mode::segments, 9}}) {
        SCOPED_TRACE(std::to_string(static_cast<int>(recompute.mode)) + " every " + std::to_string(recompute.every));
        spec.recompute = recompute;
        const RunResult found = run_training(spec);
        ++runs;
        EXPECT_EQ(found.losses, expected.losses);
        EXPECT_EQ(found.state_hash, expected.state_hash);
        if (recompute.every < spec.layers) {
          EXPECT_LT(found.activation_bytes, expected.activation_bytes);
        }
        spec.prefetch = 3;
        EXPECT_EQ(run_training(spec).state_hash, expected.state_hash);
        spec.prefetch = 1;
      }
    }
  }
  if (session().rank() == 0) figure("checkpointing modes on {} ranks: {} runs, same bits", session().size(), runs);
}

TEST(Invariance, Bf16OnTheWireStaysNear) {
  RunSpec spec;
  spec.steps = 5;
  spec.dtype = DType::bf16;
  const RunResult exact = run_training(spec);
  spec.reduce_dtype = DType::bf16;
  Spread spread;
  expect_same_losses(run_training(spec), exact, 2e-3, spread);
  spread.print("bf16 on the wire against fp32", 2e-3);
}

}  // namespace
}  // namespace sherd::test
