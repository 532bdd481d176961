// AdamW with moments in 8 bits (eight_bit.hpp), in one pass over memory. Bytes per element, read and written: moments
// 4.125 with their scales, gradient 4 (bf16: 2), master 8 and its bf16 copy 2 (split: 8 together): 14.1 with bf16
// gradients and split masters. Floor for the 6.74 G parameters of CodeLlama-7B at 3.35 TB/s (H100): 28 ms, 33 ms at the
// goal of 85%. Measured share: unmeasured.
#include "adamw.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"
#include "sherd/ops/eight_bit.hpp"

namespace sherd::cuda {
namespace {

constexpr int kLanes = 32;
static_assert(kLanes * kGroup == kMomentBlock);

struct Moments8 {
  std::uint8_t *m, *v;
  float* scales;  // (blocks, 2)
};

/// The run that element i is of; -1: none, padding.
__device__ int run_of(const Runs& runs, std::int64_t i) {
  for (int r = 0; r < runs.count; ++r)
    if (i >= runs.at[r].begin && i < runs.at[r].begin + runs.at[r].count) return r;
  return -1;
}

/// The largest magnitude of the warp's 4 x 32 values; NaN counts as the largest.
__device__ float largest(const float (&x)[kGroup]) {
  std::uint32_t top = 0;
  for (int j = 0; j < kGroup; ++j) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[j]) & 0x7fffffffu;
    top = bits > top ? bits : top;
  }
  return std::bit_cast<float>(warp_reduce<Largest>(top));
}

/// The random words of a thread's elements, which are those of one run, or of several at its ends.
struct Draws {
  std::uint32_t key0, key1;
  __device__ std::uint32_t word(const DecayRun& run, std::int64_t i) const {
    const std::uint64_t element = run.first + static_cast<std::uint64_t>(i - run.begin);
    return group(run, element)[element % kGroup];
  }
  __device__ std::array<std::uint32_t, 4> group(const DecayRun& run, std::uint64_t element) const {
    return PhiloxKey{{key0, key1}, run.name_hash}.draw(element / kGroup);
  }
};

/// A warp per block of 128 elements of the shard (n), a thread for four; then one grid further. No shared memory, f32;
/// deterministic. whole: packs may be used where four elements are of one run and one draw.
template <class W>
__global__ void adamw_8bit_kernel(W weights, Moments8 moments, std::int64_t n, bool whole, Runs runs, AdamWHyper hyper,
                                  AdamWAt scalars) {
  const Factors factors(scalars, hyper);
  const Draws draws{scalars.rounding_key[0], scalars.rounding_key[1]};
  const std::int64_t lane = threadIdx.x % kLanes, warps = grid_threads() / kLanes;
  for (std::int64_t b = global_thread() / kLanes; b * kMomentBlock < n; b += warps) {
    const std::int64_t at = b * kMomentBlock + lane * kGroup;
    const float scale_m = moments.scales[2 * b], scale_v = moments.scales[2 * b + 1];
    const int own = at < n ? run_of(runs, at) : -1;
    const DecayRun& run = runs.at[own < 0 ? 0 : own];
    const std::uint64_t first = run.first + static_cast<std::uint64_t>(at - run.begin);
    const bool packed = whole && own >= 0 && at + kGroup <= run.begin + run.count && first % kGroup == 0;
    typename W::Group e{};
    Pack<std::uint8_t, kGroup> code_m{}, code_v{};
    float m[kGroup] = {}, v[kGroup] = {};
    std::array<std::uint32_t, 4> words{};
    if (packed) {
      weights.load(at, e);
      code_m = load<kGroup>(moments.m + at);
      code_v = load<kGroup>(moments.v + at);
      words = draws.group(run, first);
    }
    for (int j = 0; j < kGroup; ++j) {
      const int r = packed ? own : at + j < n ? run_of(runs, at + j) : -1;
      if (r < 0) continue;
      if (!packed) {
        weights.load_one(at + j, e, j);
        code_m.at[j] = moments.m[at + j];
        code_v.at[j] = moments.v[at + j];
        words[static_cast<std::size_t>(j)] = draws.word(runs.at[r], at + j);
      }
      const float size = scale_m * decode_moment(code_m.at[j] & ~kSignOfM, kTopOfM);
      m[j] = code_m.at[j] >= kSignOfM ? -size : size;
      v[j] = scale_v * decode_moment(code_v.at[j], kTopOfV);
      factors.step(to_f32(e.grad.at[j]), 1.0f - factors.lr * runs.at[r].decay, m[j], v[j], e.master.at[j]);
      if (!packed) weights.store_one(at + j, e, j);
    }
    const float top_m = largest(m), top_v = largest(v);
    const float of_m = top_m > 0 ? top_m : 1.0f, of_v = top_v > 0 ? top_v : 1.0f;
    for (int j = 0; j < kGroup; ++j) {
      const std::uint32_t word = words[static_cast<std::size_t>(j)];
      const std::uint32_t code = encode_moment(fabsf(m[j]) / of_m, kTopOfM, spread_random(bits_for_m(word)));
      code_m.at[j] = static_cast<std::uint8_t>(m[j] < 0 ? code | kSignOfM : code);
      code_v.at[j] = static_cast<std::uint8_t>(encode_second_moment(v[j] / of_v, spread_random(bits_for_v(word))));
    }
    if (packed) {
      weights.store(at, e);
      store<kGroup>(moments.m + at, code_m);
      store<kGroup>(moments.v + at, code_v);
    }
    for (int j = 0; !packed && j < kGroup && at + j < n; ++j) {
      moments.m[at + j] = code_m.at[j];
      moments.v[at + j] = code_v.at[j];
    }
    if (lane == 0) {
      moments.scales[2 * b] = top_m;
      moments.scales[2 * b + 1] = top_v;
    }
  }
}

}  // namespace

void OpsImpl::adamw_8bit(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                         const AdamWScalars& scalars, Stream& s) {
  Runs all{};
  all.count = narrow<int>(std::ssize(runs));
  for (std::size_t i = 0; i < runs.size(); ++i) all.at[i] = runs[i];
  const std::int64_t n = state.m.numel();
  const Moments8 moments{reinterpret_cast<std::uint8_t*>(state.m.data), reinterpret_cast<std::uint8_t*>(state.v.data),
                         reinterpret_cast<float*>(state.scales.data)};
  with_weights(state, [&](auto grad, auto split) {
    using W = Weights<decltype(grad), decltype(split)::value>;
    launch(s, "adamw", &adamw_8bit_kernel<W>, element_grid(div_up(n, kMomentBlock) * kLanes),
           weights_of<decltype(grad), decltype(split)::value>(state), moments, n, aligned(state), all, hyper,
           addresses(scalars));
  });
}

}  // namespace sherd::cuda
