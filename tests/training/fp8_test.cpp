// Training with the blocks' products in eight bits: losses beside those in bf16, over shardings and ranks; what stays
// in bf16; numbers that are none.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

constexpr Recompute kModes[] = {{Recompute::Mode::none, 1},
                                {Recompute::Mode::selective, 1},
                                {Recompute::Mode::segments, 1},
                                {Recompute::Mode::segments, 2}};

RunSpec small_run() {
  RunSpec spec;
  spec.aligned = true;
  spec.length = 32;
  spec.layers = 2;
  spec.dtype = DType::bf16;
  return spec;
}
RunSpec in_fp8(RunSpec spec) {
  spec.fp8 = true;
  return spec;
}

double distance(const RunResult& a, const RunResult& b) {
  double worst = std::abs(a.evaluation / b.evaluation - 1);
  for (std::size_t i = 0; i < b.losses.size(); ++i) worst = std::max(worst, std::abs(a.losses[i] / b.losses[i] - 1));
  return worst;
}

TEST(Fp8, ComputesAllProductsOfTheBlocksInEightBits) {
  RunSpec spec = in_fp8(small_run());
  spec.steps = 1;
  const PlannedOps ops = run_training(spec).plan.ops;
  std::size_t f8 = 0;
  for (const ProductKey& key : ops.products) {
    const bool head = key.m == 131 || key.n == 131 || key.k == 131;
    EXPECT_NE(is_f8(key.in), head) << key.text();
    f8 += is_f8(key.in) ? 1 : 0;
  }
  EXPECT_GE(f8, 4u * 3u - 2u) << "four products, three directions; some have one shape";
  EXPECT_GT(ops.f8_flops, 0.4 * ops.product_flops);
}

TEST(Fp8, TakesTheMemoryThatWasPlanned) {
  for (const Recompute& recompute : kModes) {
    RunSpec spec = in_fp8(small_run());
    spec.steps = 1;
    spec.recompute = recompute;
    const RunResult r = run_training(spec);
    EXPECT_EQ(r.persistent_bytes, r.plan.persistent_bytes);
    EXPECT_EQ(r.activation_bytes, r.plan.activation_bytes);
  }
}

/// What is computed again has the bits, and so the scales, of the first time.
TEST(Fp8, RecomputationChangesNoBit) {
  RunSpec spec = in_fp8(small_run());
  spec.steps = 3;
  const RunResult expected = run_training(spec);
  for (const Recompute& recompute : kModes) {
    spec.recompute = recompute;
    const RunResult r = run_training(spec);
    EXPECT_EQ(r.losses, expected.losses);
    EXPECT_EQ(r.state_hash, expected.state_hash);
  }
}

TEST(Fp8, LeavesOddShapesInBf16BitByBit) {
  RunSpec spec = small_run();
  spec.aligned = false;
  spec.steps = 3;
  const RunResult exact = run_training(spec), asked = run_training(in_fp8(spec));
  EXPECT_EQ(asked.losses, exact.losses);
  EXPECT_EQ(asked.state_hash, exact.state_hash);
  EXPECT_EQ(asked.plan.ops.f8_flops, 0);
}

/// Weights are quantized whole on every rank, activations by micro-batch: with the same micro-batches only the order of
/// sums differs, and what it does to a rounding.
TEST(Fp8, GivesTheSameLossesUnderEverySharding) {
  constexpr double kBound = 2e-2;
  RunSpec spec = in_fp8(small_run());
  spec.strategy = "none";
  const RunResult expected = run_training(spec);
  double worst = 0;
  for (const std::string strategy : {"full", "hybrid"}) {
    if (strategy == "hybrid" && session().size() % 2 != 0) continue;
    spec.strategy = strategy;
    spec.nodes = strategy == "hybrid" ? 2 : 1;
    worst = std::max(worst, distance(run_training(spec), expected));
  }
  RunSpec alone = in_fp8(small_run());
  alone.alone = true;
  alone.batch = 12;  // one micro-batch of all: other largest magnitudes
  const double composed = distance(run_training(alone), expected);
  EXPECT_LT(worst, kBound);
  EXPECT_LT(composed, kBound);
  if (session().rank() == 0)
    figure(
        "fp8 on {} ranks: losses of 20 steps under other shardings differ by {:.2g}, of other micro-batches by {:.2g}",
        session().size(), worst, composed);
}

TEST(Fp8, RepeatsItsBits) {
  RunSpec spec = in_fp8(small_run());
  spec.steps = 3;
  const RunResult a = run_training(spec), b = run_training(spec);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.state_hash, b.state_hash);
}

double reached(const RunResult& r) {
  return std::accumulate(r.losses.end() - 20, r.losses.end(), 0.0) / 20;
}

/// The longer curve, of inputs/chess_tiny, is in docs/gpu/fp8.md.
TEST(Fp8, LearnsAsBf16Does) {
  RunSpec spec = small_run();
  spec.steps = 120;
  spec.repeat = 4;
  spec.rate_falls = true;
  const RunResult exact = run_training(spec), rounded = run_training(in_fp8(spec));
  ASSERT_LT(reached(exact), 0.2 * exact.losses.front());
  EXPECT_LT(std::abs(reached(rounded) / reached(exact) - 1), 0.15);
  EXPECT_NE(rounded.losses, exact.losses);
  EXPECT_LT(std::abs(rounded.losses.front() / exact.losses.front() - 1), 0.02);
  if (session().rank() == 0)
    figure("fp8 on {} ranks: after 120 steps a loss of {:.4f}, in bf16 {:.4f}, at first {:.4f}", session().size(),
           reached(rounded), reached(exact), exact.losses.front());
}

/// An overflow must end the run, not saturate.
TEST(Fp8, ANumberThatIsNoneEndsTheRun) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    RunSpec spec = in_fp8(small_run());
    spec.steps = 1;
    spec.begin = [&](Rig& rig) {
      rig.initialize(42);
      Tensor master = rig.model().state(1).master;  // of the first block
      for (const ShardPiece& piece : rig.model().pieces(1))
        if (piece.spec->name.ends_with("o_proj.weight") && piece.count > 0)
          rig.ops().fill(master.flat(piece.offset, 1), bad, rig.compute());
      rig.model().masters_changed();
    };
    try {
      run_training(spec);
      ADD_FAILURE() << "a weight of " << bad << " was computed with";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::numerical) << e.what();
    }
  }
}

}  // namespace
}  // namespace sherd::test
