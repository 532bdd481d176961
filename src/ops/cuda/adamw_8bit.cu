// AdamW with moments in 8 bits (eight_bit.hpp), in one pass over memory. Bytes per element, read and written: moments
// 4.125 with their scales, gradient 4 (bf16: 2), master 8 and its bf16 copy 2 (split: 8 together): 14.1 with bf16
// gradients and split masters. Floor for the 6.74 G parameters of CodeLlama-7B at 3.35 TB/s (H100): 28 ms, 33 ms at the
// goal of 85%. Measured share: unmeasured.
#include <algorithm>

#include "adamw.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"
#include "sherd/ops/eight_bit.hpp"

namespace sherd::cuda {
namespace {

constexpr int kEach = 8;                      // elements of a thread: two draws
constexpr int kLanes = kMomentBlock / kEach;  // of a block of the shard; a warp has two blocks
constexpr int kBlocksOfWarp = 32 / kLanes;
static_assert(kEach % kGroup == 0);

struct Moments8 {
  std::uint8_t *m, *v;
  float* scales;  // (blocks, 2)
};
using Codes = Pack<std::uint8_t, kEach>;

/// Blocks [first, last) of 128 elements.
struct Blocks {
  std::int64_t first = 0, last = 0;
};

/// Those that are the run's alone and whose threads draw for whole groups of its parameter.
__host__ __device__ Blocks whole_blocks(const DecayRun& run) {
  if ((run.first - static_cast<std::uint64_t>(run.begin)) % kGroup != 0) return {};
  const Blocks all{div_up(run.begin, kMomentBlock), (run.begin + run.count) / kMomentBlock};
  return all.first < all.last ? all : Blocks{};
}

/// Those of no whole_blocks: between runs, where runs share one, and padding.
struct Gaps {
  Blocks at[kRunsPerLaunch + 1];
  int count = 0;
};

static_assert(sizeof(Runs) + sizeof(Gaps) + 256 <= 4096);  // of a kernel's arguments

/// The elements of a thread.
struct Part {
  float m[kEach] = {}, v[kEach] = {};
  std::uint32_t words[kEach] = {};
  Codes code_m{}, code_v{};

  /// Element j's moments from its codes.
  __device__ void decode(int j, float scale_m, float scale_v) {
    const float size = scale_m * decode_moment(code_m.at[j] & ~kSignOfM, kTopOfM);
    m[j] = code_m.at[j] >= kSignOfM ? -size : size;
    v[j] = scale_v * decode_moment(code_v.at[j], kTopOfV);
  }
  /// All codes from the moments; the block's scales, m's and v's. For all lanes of the warp together.
  __device__ Pack<float, 2> encode() {
    const Pack<float, 2> scale{{largest(m), largest(v)}};
    const float per_m = fraction_of_scale(scale.at[0]), per_v = fraction_of_scale(scale.at[1]);
    for (int j = 0; j < kEach; ++j) {
      const std::uint32_t code = encode_moment(fabsf(m[j]) * per_m, kTopOfM, spread_random(bits_for_m(words[j])));
      code_m.at[j] = static_cast<std::uint8_t>(m[j] < 0 ? code | kSignOfM : code);
      code_v.at[j] = static_cast<std::uint8_t>(encode_second_moment(v[j] * per_v, spread_random(bits_for_v(words[j]))));
    }
    return scale;
  }

 private:
  /// The scale of the block whose values its lanes have; NaN counts as the largest.
  __device__ static float largest(const float (&x)[kEach]) {
    std::uint32_t top = 0;
    for (int j = 0; j < kEach; ++j) {
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[j]) & 0x7fffffffu;
      top = bits > top ? bits : top;
    }
    return moment_scale(std::bit_cast<float>(warp_reduce<Largest, kLanes>(top)));
  }
};

__device__ PhiloxKey key_of(const DecayRun& run, const AdamWAt& scalars) {
  return {{scalars.rounding_key[0], scalars.rounding_key[1]}, run.name_hash};
}

/// Where a thread works: a warp at a time on kBlocksOfWarp blocks of 128 elements.
struct Place {
  std::int64_t block, at;  // its block, and its first element
  __device__ explicit Place(std::int64_t first_of_warp)
      : block(first_of_warp + threadIdx.x % 32 / kLanes), at(block * kMomentBlock + threadIdx.x % kLanes * kEach) {}
};

/// Grid: y the run, x over its whole blocks, and one grid further. All vectors begin at multiples of 16 bytes. No
/// shared memory, f32; deterministic.
template <class W>
__global__ void whole_blocks_kernel(W weights, Moments8 moments, Runs runs, AdamWHyper hyper, AdamWAt scalars) {
  const DecayRun run = runs.at[blockIdx.y];
  const Blocks blocks = whole_blocks(run);
  const std::int64_t mine = blocks.first + global_thread() / 32 * kBlocksOfWarp;
  if (mine >= blocks.last) return;  // a run that is shorter than the longest
  const Factors factors(scalars, hyper);
  const float keep = 1.0f - factors.lr * run.decay;
  const PhiloxKey key = key_of(run, scalars);
  const std::int64_t step = grid_threads() / kLanes;
  for (std::int64_t b = mine; b < blocks.last; b += step) {
    const Place here(b);
    const bool own = here.block < blocks.last;  // else its lanes only help the warp's other block
    typename W::Group e;
    Part p;
    if (own) {
      weights.load(here.at, e);
      p.code_m = load<kEach>(moments.m + here.at);
      p.code_v = load<kEach>(moments.v + here.at);
      const Pack<float, 2> scale = load<2>(moments.scales + 2 * here.block);
      const std::uint64_t group = (run.first + static_cast<std::uint64_t>(here.at - run.begin)) / kGroup;
      for (int j = 0; j < kEach; j += kGroup) {
        const std::array<std::uint32_t, 4> drawn = key.draw(group + static_cast<std::uint64_t>(j / kGroup));
        for (int i = 0; i < kGroup; ++i) p.words[j + i] = drawn[static_cast<std::size_t>(i)];
      }
      for (int j = 0; j < kEach; ++j) {
        p.decode(j, scale.at[0], scale.at[1]);
        factors.step(e.grad[j], keep, p.m[j], p.v[j], e.master[j]);
      }
    }
    const Pack<float, 2> scale = p.encode();
    if (!own) continue;
    weights.store(here.at, e);
    store<kEach>(moments.m + here.at, p.code_m);
    store<kEach>(moments.v + here.at, p.code_v);
    if (threadIdx.x % kLanes == 0) store<2>(moments.scales + 2 * here.block, scale);
  }
}

/// The run that element i is of; -1: none, padding.
__device__ int run_of(const Runs& runs, std::int64_t i) {
  for (int r = 0; r < runs.count; ++r)
    if (i >= runs.at[r].begin && i < runs.at[r].begin + runs.at[r].count) return r;
  return -1;
}

/// Grid: y the gap, x over its blocks, and one grid further; an element at a time, of any run or none, of the shard
/// (n). No shared memory, f32; deterministic.
template <class W>
__global__ void gaps_kernel(W weights, Moments8 moments, std::int64_t n, Gaps gaps, Runs runs, AdamWHyper hyper,
                            AdamWAt scalars) {
  const Blocks blocks = gaps.at[blockIdx.y];
  const std::int64_t mine = blocks.first + global_thread() / 32 * kBlocksOfWarp;
  if (mine >= blocks.last) return;
  const Factors factors(scalars, hyper);
  const std::int64_t step = grid_threads() / kLanes;
  for (std::int64_t b = mine; b < blocks.last; b += step) {
    const Place here(b);
    const bool own = here.block < blocks.last;
    typename W::Group e;
    Part p;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t at = here.at + j;
      const int r = own && at < n ? run_of(runs, at) : -1;
      if (r < 0) continue;
      const DecayRun& run = runs.at[r];
      const std::uint64_t element = run.first + static_cast<std::uint64_t>(at - run.begin);
      p.words[j] = key_of(run, scalars).draw(element / kGroup)[element % kGroup];
      weights.load_one(at, e, j);
      p.code_m.at[j] = moments.m[at];
      p.code_v.at[j] = moments.v[at];
      p.decode(j, moments.scales[2 * here.block], moments.scales[2 * here.block + 1]);
      factors.step(e.grad[j], 1.0f - factors.lr * run.decay, p.m[j], p.v[j], e.master[j]);
      weights.store_one(at, e, j);
    }
    const Pack<float, 2> scale = p.encode();
    __syncwarp();  // the block's other lanes have read its scales
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (!own || here.at + j >= n) continue;
      moments.m[here.at + j] = p.code_m.at[j];
      moments.v[here.at + j] = p.code_v.at[j];
    }
    if (own && threadIdx.x % kLanes == 0) store<2>(moments.scales + 2 * here.block, scale);
  }
}

/// What is left of `blocks` blocks; runs are in order (check_adamw).
Gaps gaps_of(const Runs& runs, std::int64_t blocks) {
  Gaps gaps;
  std::int64_t done = 0;
  const auto until = [&](std::int64_t next) {
    if (done < next) gaps.at[gaps.count++] = {done, next};
  };
  for (int r = 0; r < runs.count; ++r) {
    const Blocks whole = whole_blocks(runs.at[r]);
    if (whole.first == whole.last) continue;
    until(whole.first);
    done = whole.last;
  }
  until(blocks);
  return gaps;
}

/// For the y of a grid whose x goes over the blocks of each of them.
Grid grid_of(std::int64_t most_blocks, int count) {
  Grid grid = element_grid(div_up(most_blocks, kBlocksOfWarp) * 32);
  grid.y = count;
  return grid;
}

}  // namespace

void OpsImpl::adamw_8bit(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                         const AdamWScalars& scalars, Stream& s) {
  Runs all{};
  all.count = narrow<int>(std::ssize(runs));
  std::ranges::copy(runs, all.at);
  const std::int64_t n = state.m.numel(), blocks = div_up(n, kMomentBlock);
  Gaps gaps;
  gaps.at[gaps.count++] = {0, blocks};
  std::int64_t most_whole = 0, most_in_gap = 0;
  if (aligned(state)) {
    gaps = gaps_of(all, blocks);
    for (const DecayRun& run : runs)
      most_whole = std::max(most_whole, whole_blocks(run).last - whole_blocks(run).first);
  }
  for (int g = 0; g < gaps.count; ++g) most_in_gap = std::max(most_in_gap, gaps.at[g].last - gaps.at[g].first);
  const Moments8 moments{reinterpret_cast<std::uint8_t*>(state.m.data), reinterpret_cast<std::uint8_t*>(state.v.data),
                         reinterpret_cast<float*>(state.scales.data)};
  with_weights(state, [&](auto grad, auto split) {
    using W = Weights<decltype(grad), decltype(split)::value, kEach>;
    const W weights = weights_of<W>(state);
    if (most_whole > 0)
      launch(s, "adamw", &whole_blocks_kernel<W>, grid_of(most_whole, all.count), weights, moments, all, hyper,
             addresses(scalars));
    if (most_in_gap > 0)
      launch(s, "adamw", &gaps_kernel<W>, grid_of(most_in_gap, gaps.count), weights, moments, n, gaps, all, hyper,
             addresses(scalars));
  });
}

}  // namespace sherd::cuda
