// The bytes that a step hands to MPI, against values worked out by hand from DESIGN.md's table, and the plan against
// the run.
//
// The model of training_run.cpp on W ranks: C = 27, 3 query heads and 1 key/value head of 10, F = 37, V = 131. A unit's
// parameters begin at multiples of 128 elements (fusion groups are contiguous), and a unit is padded to 128 W:
//   embedding    131 x 27 = 3537                                                                         -> 3537
//   block        norm 27 -> 128; qkv 50 x 27 = 1350 -> 1408; out 27 x 30 = 810 -> 896; norm 27 -> 128;
//                gate_up 74 x 27 = 1998 -> 2048; down 27 x 37 = 999                128+1408+896+128+2048+999 = 5607
//   head         norm 27 -> 128; 131 x 27 = 3537                                                         -> 3665
//   root (tied)  3537 -> 3584; norm 27                                                                   -> 3611
#include <gtest/gtest.h>

#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

struct Units {
  std::int64_t embedding, block, head;
};
/// Padded to 128 W, by hand: 512 for 4 ranks, 256 for 2, 384 for 3.
Units padded_units() {
  switch (session().size()) {
    case 2:
      return {3584, 5632, 3840};
    case 3:
      return {3840, 5760, 3840};
    default:
      return {3584, 5632, 4096};
  }
}

constexpr std::int64_t kLayers = 4;

RunSpec spec_of(const std::string& strategy, std::int64_t batch) {
  RunSpec spec;
  spec.strategy = strategy;
  spec.batch = batch;
  spec.layers = kLayers;
  spec.steps = 3;
  return spec;
}

std::int64_t sent(const Traffic& t, Collective c) {
  return t.row[static_cast<std::size_t>(c)].bytes_sent;
}

/// Gathers of blocks per step: all in the first forward; the last two stay in their two slots for backward, and the
/// first two stay from there for the next micro-batch.
std::int64_t block_gathers(std::int64_t micro_batches) {
  return kLayers + (kLayers - 2) * (2 * micro_batches - 1);
}

TEST(Traffic, FullIsTheTablesRow) {
  const Units u = padded_units();
  const std::int64_t W = session().size();
  for (const std::int64_t micro_batches : {std::int64_t{1}, std::int64_t{2}}) {
    RunSpec spec = spec_of("full", 24 / W / micro_batches);
    spec.global_batch = 24;
    const RunResult r = run_training(spec);
    // (W-1)/W U e_p per gather; embedding and head have slots of their own and are gathered once a step.
    const std::int64_t gathered = u.embedding + u.head + block_gathers(micro_batches) * u.block;
    EXPECT_EQ(sent(r.shard, Collective::all_gather), (W - 1) * gathered / W * 4);
    // (W-1)/W U e_g per micro-batch
    const std::int64_t reduced = (u.embedding + kLayers * u.block + u.head) * micro_batches;
    EXPECT_EQ(sent(r.shard, Collective::reduce_scatter), (W - 1) * reduced / W * 4);
    EXPECT_EQ(sent(r.shard, Collective::all_reduce), (W - 1) * 4);                        // the squared norm
    EXPECT_EQ(sent(r.world, Collective::all_reduce), (W - 1) * 4 * (1 + micro_batches));  // loss and divisors
    EXPECT_EQ(r.replicate.bytes_sent(), 0);
  }
}

TEST(Traffic, Bf16HalvesWhatIsGatheredAndReduced) {
  RunSpec spec = spec_of("full", 1);
  const RunResult exact = run_training(spec);
  spec.dtype = spec.reduce_dtype = DType::bf16;
  const RunResult rounded = run_training(spec);
  for (const Collective c : {Collective::all_gather, Collective::reduce_scatter}) {
    EXPECT_EQ(2 * sent(rounded.shard, c), sent(exact.shard, c));
  }
}

TEST(Traffic, NoneIsTheTablesRow) {
  const Units u = padded_units();
  const std::int64_t W = session().size();
  const RunResult r = run_training(spec_of("none", 1));
  EXPECT_EQ(r.shard.bytes_sent(), 0);
  // 2 (W-1)/W U e_g once per step, whatever the accumulation
  EXPECT_EQ(r.replicate.bytes_sent(), 2 * (W - 1) * (u.embedding + kLayers * u.block + u.head) / W * 4);
}

TEST(Traffic, HybridIsTheTablesRow) {
  if (session().size() != 4) return;  // two groups of two
  const Units u = padded_units();
  RunSpec spec = spec_of("hybrid", 3);
  spec.nodes = 2;
  const RunResult r = run_training(spec);
  const std::int64_t all = u.embedding + kLayers * u.block + u.head;
  EXPECT_EQ(sent(r.shard, Collective::all_gather), (u.embedding + u.head + block_gathers(1) * u.block) / 2 * 4);
  EXPECT_EQ(sent(r.shard, Collective::reduce_scatter), all / 2 * 4);
  EXPECT_EQ(r.replicate.bytes_sent(), 2 * (all / 2) / 2 * 4);  // 2 (R-1)/R (U/F) e_g
}

TEST(Plan, IsTheRunsMemoryAndTrafficToTheByte) {
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Recompute recompute : {Recompute{Recompute::Mode::none, 1}, Recompute{Recompute::Mode::segments, 2}}) {
        if (strategy == "hybrid" && session().size() % 2 != 0) continue;
        RunSpec spec = spec_of(strategy, 1);
        spec.nodes = strategy == "hybrid" ? 2 : 1;
        spec.dtype = dtype;
        spec.recompute = recompute;
        const RunResult r = run_training(spec);
        EXPECT_EQ(r.persistent_bytes, r.plan.persistent_bytes);
        EXPECT_EQ(r.activation_bytes, r.plan.activation_bytes);
        EXPECT_EQ(r.shard.bytes_sent(), r.plan.shard.bytes_sent());
        EXPECT_EQ(r.replicate.bytes_sent(), r.plan.replicate.bytes_sent());
        EXPECT_EQ(r.world.bytes_sent(), r.plan.world.bytes_sent());
      }
    }
  }
}

}  // namespace
}  // namespace sherd::test
