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

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

struct Units {
  std::int64_t embedding, block, head, root;
};
/// Padded to 128 W, by hand: 512 for 4 ranks, 256 for 2, 384 for 3.
Units padded_units() {
  switch (session().size()) {
    case 2:
      return {3584, 5632, 3840, 3840};
    case 3:
      return {3840, 5760, 3840, 3840};
    default:
      return {3584, 5632, 4096, 4096};
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

/// The counted bytes are those written by hand, and are printed.
void expect_bytes(const char* what, std::int64_t counted, std::int64_t by_hand) {
  EXPECT_EQ(counted, by_hand) << what;
  if (session().rank() != 0) return;
  figure("traffic on {} ranks, {}: {} bytes a rank, by hand {}", session().size(), what, counted, by_hand);
}

std::int64_t sent(const Traffic& t, Collective c) {
  return t.row[static_cast<std::size_t>(c)].bytes_sent;
}

/// Gathers of blocks per step: all in the first forward; the last ones stay in their slots for backward, and the first
/// ones stay from there for the next micro-batch.
std::int64_t block_gathers(std::int64_t micro_batches, int slots = 2) {
  return kLayers + (kLayers - slots) * (2 * micro_batches - 1);
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
    expect_bytes("full, gathered", sent(r.shard, Collective::all_gather), (W - 1) * gathered / W * 4);
    // (W-1)/W U e_g per micro-batch
    const std::int64_t reduced = (u.embedding + kLayers * u.block + u.head) * micro_batches;
    expect_bytes("full, reduced", sent(r.shard, Collective::reduce_scatter), (W - 1) * reduced / W * 4);
    EXPECT_EQ(sent(r.shard, Collective::all_reduce), (W - 1) * 4);      // the squared norm
    EXPECT_EQ(sent(r.world, Collective::all_reduce), (W - 1) * 4 * 2);  // loss and divisor
    EXPECT_EQ(r.replicate.bytes_sent(), 0);
  }
}

TEST(Traffic, EveryUnitThatTravelsAheadIsOneGatherLess) {
  const Units u = padded_units();
  const std::int64_t W = session().size();
  for (const int prefetch : {2, 3}) {
    RunSpec spec = spec_of("full", 24 / W / 2);
    spec.global_batch = 24;
    spec.prefetch = prefetch;
    const RunResult r = run_training(spec);
    const std::int64_t gathered = u.embedding + u.head + block_gathers(2, prefetch + 1) * u.block;
    expect_bytes("full, gathered by more slots", sent(r.shard, Collective::all_gather), (W - 1) * gathered / W * 4);
  }
}

TEST(Traffic, TiedWeightsAreOneUnit) {
  const Units u = padded_units();
  const std::int64_t W = session().size();
  RunSpec spec = spec_of("full", 1);
  spec.global_batch = 2 * W;  // two micro-batches
  spec.tied = true;
  const RunResult r = run_training(spec);
  expect_bytes("full, tied, gathered", sent(r.shard, Collective::all_gather),
               (W - 1) * (u.root + block_gathers(2) * u.block) / W * 4);
  expect_bytes("full, tied, reduced", sent(r.shard, Collective::reduce_scatter),
               (W - 1) * 2 * (u.root + kLayers * u.block) / W * 4);
}

TEST(Traffic, ASegmentIsGatheredOnceMoreForItsSecondForward) {
  const Units u = padded_units();
  const std::int64_t W = session().size();
  RunSpec spec = spec_of("full", 1);
  spec.global_batch = 2 * W;
  spec.recompute = {Recompute::Mode::segments, kLayers};  // all blocks are one segment
  const RunResult r = run_training(spec);
  // Forward 4, its repetition 4, backward the 2 that are resident no more; the next micro-batch finds 2 of its forward.
  const std::int64_t block_gathers_of_segments = (4 + 4 + 2) + (2 + 4 + 2);
  expect_bytes("full, every-4, gathered", sent(r.shard, Collective::all_gather),
               (W - 1) * (u.embedding + u.head + block_gathers_of_segments * u.block) / W * 4);
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
  expect_bytes("none, all-reduced", r.replicate.bytes_sent(),
               2 * (W - 1) * (u.embedding + kLayers * u.block + u.head) / W * 4);
}

TEST(Traffic, HybridIsTheTablesRow) {
  if (session().size() != 4) GTEST_SKIP() << "two groups of two are 4 ranks";
  const Units u = padded_units();
  RunSpec spec = spec_of("hybrid", 3);
  spec.global_batch = 24;  // two micro-batches
  spec.nodes = 2;
  const RunResult r = run_training(spec);
  const std::int64_t all = u.embedding + kLayers * u.block + u.head;
  expect_bytes("hybrid, gathered in the node", sent(r.shard, Collective::all_gather),
               (u.embedding + u.head + block_gathers(2) * u.block) / 2 * 4);
  expect_bytes("hybrid, reduced in the node", sent(r.shard, Collective::reduce_scatter), 2 * all / 2 * 4);
  expect_bytes("hybrid, all-reduced across", r.replicate.bytes_sent(), 2 * (all / 2) / 2 * 4);  // 2 (R-1)/R (U/F) e_g
}

TEST(Plan, IsTheRunsMemoryAndTrafficToTheByte) {
  int runs = 0;
  std::size_t planned = 0, allocated = 0;
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Recompute recompute : {Recompute{Recompute::Mode::none, 1}, Recompute{Recompute::Mode::segments, 2}}) {
        if (strategy == "hybrid" && session().size() % 2 != 0) continue;
        RunSpec spec = spec_of(strategy, 1);
        spec.nodes = strategy == "hybrid" ? 2 : 1;
        spec.dtype = dtype;
        spec.recompute = recompute;
        spec.moments_dtype = dtype == DType::bf16 ? DType::u8 : DType::f32;
        spec.split_master = dtype == DType::bf16;
        const RunResult r = run_training(spec);
        ++runs;
        planned += r.plan.persistent_bytes + r.plan.activation_bytes;
        allocated += r.persistent_bytes + r.activation_bytes;
        EXPECT_EQ(r.persistent_bytes, r.plan.persistent_bytes);
        EXPECT_EQ(r.activation_bytes, r.plan.activation_bytes);
        EXPECT_EQ(r.shard.bytes_sent(), r.plan.shard.bytes_sent());
        EXPECT_EQ(r.replicate.bytes_sent(), r.plan.replicate.bytes_sent());
        EXPECT_EQ(r.world.bytes_sent(), r.plan.world.bytes_sent());
      }
    }
  }
  if (session().rank() == 0)
    figure("plan on {} ranks, {} runs: {} bytes planned, {} used", session().size(), runs, planned, allocated);
}

}  // namespace
}  // namespace sherd::test
