// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory, with moments in f32 or bf16. Bytes per
// element, read and written: gradient 4 (bf16: 2), moments 16 (bf16: 8), master 8 and its bf16 copy 2 (split: 8
// together): 30 in all with everything in f32 and a copy, 18 with bf16 gradients and moments and split masters. Floor
// for the 6.74 G parameters of CodeLlama-7B at 3.35 TB/s (H100): 60 and 36 ms; 71 and 43 ms at the goal of 85%.
// Measured share: unmeasured.
#include "adamw.cuh"
#include "ops.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

/// M is float or bf16.
template <class M>
struct Moments {
  M *m, *v;
  struct Group {
    Pack<M, kGroup> m, v;
  };
};

/// Elements at to at + 3 of all vectors, as far as `inside` says that they are the run's.
template <class M, class W>
__device__ void load_group(const W& weights, const Moments<M>& moments, std::int64_t at, bool packed, unsigned inside,
                           typename W::Group& e, typename Moments<M>::Group& mv) {
  if (packed) {
    weights.load(at, e);
    mv.m = load<kGroup>(moments.m + at);
    mv.v = load<kGroup>(moments.v + at);
    return;
  }
  for (int j = 0; j < kGroup; ++j) {
    if ((inside >> j & 1u) == 0) continue;
    weights.load_one(at + j, e, j);
    mv.m.at[j] = moments.m[at + j];
    mv.v.at[j] = moments.v[at + j];
  }
}
template <class M, class W>
__device__ void store_group(const W& weights, const Moments<M>& moments, std::int64_t at, bool packed, unsigned inside,
                            const typename W::Group& e, const typename Moments<M>::Group& mv) {
  if (packed) {
    weights.store(at, e);
    store<kGroup>(moments.m + at, mv.m);
    store<kGroup>(moments.v + at, mv.v);
    return;
  }
  for (int j = 0; j < kGroup; ++j) {
    if ((inside >> j & 1u) == 0) continue;
    weights.store_one(at + j, e, j);
    moments.m[at + j] = mv.m.at[j];
    moments.v[at + j] = mv.v.at[j];
  }
}

/// Grid: y the run, x over its groups of four elements of the parameter, which share a draw: packs of 16 bytes (8 of
/// 16-bit types), wherever the shard holds a whole group where packs may lie (aligned). Deterministic; no sums.
template <class M, class W>
__global__ void adamw_kernel(W weights, Moments<M> moments, bool aligned, Runs runs, AdamWHyper hyper,
                             AdamWAt scalars) {
  const DecayRun run = runs.at[blockIdx.y];
  const Factors factors(scalars, hyper);
  const float keep = 1.0f - factors.lr * run.decay;
  PhiloxKey key{{0, 0}, run.name_hash};
  if (sizeof(M) < sizeof(float)) key.key = {scalars.rounding_key[0], scalars.rounding_key[1]};
  const auto before = static_cast<std::int64_t>(run.first % kGroup);  // elements of the first group that others hold
  const std::int64_t end = before + run.count, origin = run.begin - before;
  for (std::int64_t i = global_thread(); i * kGroup < end; i += grid_threads()) {
    unsigned inside = 0;
    for (int j = 0; j < kGroup; ++j)
      if (i * kGroup + j >= before && i * kGroup + j < end) inside |= 1u << j;
    const std::int64_t at = origin + i * kGroup;
    const bool packed = aligned && inside == 15u && at % kGroup == 0;
    std::array<std::uint32_t, 4> words{};
    if constexpr (sizeof(M) < sizeof(float)) words = key.draw(run.first / kGroup + static_cast<std::uint64_t>(i));
    typename W::Group e{};
    typename Moments<M>::Group mv{};
    load_group(weights, moments, at, packed, inside, e, mv);
    for (int j = 0; j < kGroup; ++j) {
      const std::uint32_t word = words[static_cast<std::size_t>(j)];
      float m = to_f32(mv.m.at[j]), v = to_f32(mv.v.at[j]);
      factors.step(e.grad[j], keep, m, v, e.master[j]);
      mv.m.at[j] = stored_moment<M>(m, bits_for_m(word));
      mv.v.at[j] = stored_moment<M>(v, bits_for_v(word));
    }
    store_group(weights, moments, at, packed, inside, e, mv);
  }
}

/// high, rest (n) = master (n), split. Grid of threads; deterministic.
__global__ void split_master_kernel(const float* master, bf16* high, std::int16_t* rest, std::int64_t n) {
  for (std::int64_t i = global_thread(); i < n; i += grid_threads()) {
    const auto bits = std::bit_cast<std::uint32_t>(master[i]);
    high[i].bits = master_high(bits);
    rest[i] = master_rest(bits, high[i].bits);
  }
}

}  // namespace

void OpsImpl::adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                    const AdamWScalars& scalars, Stream& s) {
  check_adamw(state, runs, scalars);
  if (state.m.dtype == DType::u8) return adamw_8bit(state, runs, hyper, scalars, s);
  while (!runs.empty()) {
    const std::size_t count = std::min<std::size_t>(runs.size(), kRunsPerLaunch);
    Runs some{};
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      some.at[i] = runs[i];
      longest = std::max(longest, runs[i].count);
    }
    Grid grid = element_grid(div_up(longest, kGroup) + 1);  // a run may begin and end within a group
    grid.y = static_cast<std::int64_t>(count);
    with_float_type(state.m.dtype, [&](auto moment) {
      with_weights(state, [&](auto grad, auto split) {
        using M = decltype(moment);
        using W = Weights<decltype(grad), decltype(split)::value>;
        const Moments<M> moments{reinterpret_cast<M*>(state.m.data), reinterpret_cast<M*>(state.v.data)};
        launch(s, "adamw", &adamw_kernel<M, W>, grid, weights_of<W>(state), moments, aligned(state), some, hyper,
               addresses(scalars));
      });
    });
    runs = runs.subspan(count);
  }
}

void OpsImpl::split_master(Tensor from, Tensor high, Tensor rest, Stream& s) {
  check_split_master(from, high, rest);
  launch(s, "split_master", &split_master_kernel, element_grid(from.numel()), reinterpret_cast<const float*>(from.data),
         reinterpret_cast<bf16*>(high.data), reinterpret_cast<std::int16_t*>(rest.data), from.numel());
}

}  // namespace sherd::cuda
