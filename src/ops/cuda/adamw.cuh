#pragma once
// What AdamW's kernels share: runs and scalars as they travel, masters whole or split, and one element's arithmetic.
#include <bit>

#include "elementwise.cuh"
#include "sherd/ops/ops.hpp"
#include "sherd/ops/rounding.hpp"
#include "sherd/ops/split_master.hpp"

namespace sherd::cuda {

constexpr int kRunsPerLaunch = 64;  // runs travel as a kernel's argument, of at most 4 KB
static_assert(kRunsPerLaunch == kMostRunsIn8Bits);
struct Runs {
  DecayRun at[kRunsPerLaunch];
  int count = 0;
};

struct AdamWAt {
  const float *lr, *correction1, *correction2, *clip;
  const std::uint32_t* rounding_key;  // (2); null with moments in f32
};
inline AdamWAt addresses(const AdamWScalars& s) {
  const auto floats = [](const Tensor& t) { return reinterpret_cast<const float*>(t.data); };
  return {floats(s.lr), floats(s.correction1), floats(s.correction2), floats(s.clip),
          reinterpret_cast<const std::uint32_t*>(s.rounding_key.data)};
}

constexpr int kGroup = kRoundingGroup;  // elements of a thread: those that share a draw

/// kGroup elements of masters and gradients; kSplit: masters are `copy` and `rest`. G: float or bf16.
template <class G, bool kSplit>
struct Weights {
  float* master;
  const G* grad;
  bf16* copy;  // null: parameters are stored in f32
  std::int16_t* rest;

  struct Group {
    Pack<G, kGroup> grad;
    Pack<float, kGroup> master;
  };
  __device__ void load(std::int64_t at, Group& e) const {
    e.grad = cuda::load<kGroup>(grad + at);
    if constexpr (kSplit) {
      const Pack<bf16, kGroup> high = cuda::load<kGroup>(copy + at);
      const Pack<std::int16_t, kGroup> low = cuda::load<kGroup>(rest + at);
      for (int j = 0; j < kGroup; ++j) e.master.at[j] = std::bit_cast<float>(join_master(high.at[j].bits, low.at[j]));
    } else {
      e.master = cuda::load<kGroup>(master + at);
    }
  }
  __device__ void store(std::int64_t at, const Group& e) const {
    Pack<bf16, kGroup> high;
    if constexpr (kSplit) {
      Pack<std::int16_t, kGroup> low;
      for (int j = 0; j < kGroup; ++j) {
        const auto bits = std::bit_cast<std::uint32_t>(e.master.at[j]);
        high.at[j].bits = master_high(bits);
        low.at[j] = master_rest(bits, high.at[j].bits);
      }
      cuda::store<kGroup>(rest + at, low);
      cuda::store<kGroup>(copy + at, high);
    } else {
      cuda::store<kGroup>(master + at, e.master);
      for (int j = 0; j < kGroup; ++j) high.at[j] = from_f32<bf16>(e.master.at[j]);
      if (copy != nullptr) cuda::store<kGroup>(copy + at, high);
    }
  }
  __device__ void load_one(std::int64_t at, Group& e, int j) const {
    e.grad.at[j] = grad[at];
    e.master.at[j] = kSplit ? std::bit_cast<float>(join_master(copy[at].bits, rest[at])) : master[at];
  }
  __device__ void store_one(std::int64_t at, const Group& e, int j) const {
    const float w = e.master.at[j];
    if constexpr (kSplit) {
      const auto bits = std::bit_cast<std::uint32_t>(w);
      copy[at].bits = master_high(bits);
      rest[at] = master_rest(bits, copy[at].bits);
    } else {
      master[at] = w;
      if (copy != nullptr) copy[at] = from_f32<bf16>(w);
    }
  }
};
template <class G, bool kSplit>
Weights<G, kSplit> weights_of(const AdamWState& state) {
  return {reinterpret_cast<float*>(state.master.data), reinterpret_cast<const G*>(state.grad.data),
          reinterpret_cast<bf16*>(state.copy.data), reinterpret_cast<std::int16_t*>(state.rest.data)};
}

/// Whether packs may be used: every vector begins at a multiple of 16 bytes.
inline bool aligned(const AdamWState& state) {
  for (const Tensor& t : {state.master, state.grad, state.m, state.v, state.copy, state.rest})
    if (reinterpret_cast<std::uintptr_t>(t.data) % 16 != 0) return false;
  return true;
}

/// A step's factors, but for the decay of a run.
struct Factors {
  float lr, clip, rate, root;
  AdamWHyper hyper;
  __device__ Factors(const AdamWAt& s, const AdamWHyper& h)
      : lr(*s.lr), clip(*s.clip), rate(lr / *s.correction1), root(1.0f / sqrtf(*s.correction2)), hyper(h) {}
  /// One element: m, v and the master w in place. keep = 1 - lr decay.
  __device__ void step(float grad, float keep, float& m, float& v, float& w) const {
    const float g = clip * grad;
    m = m + (1.0f - hyper.beta1) * (g - m);
    v = hyper.beta2 * v + (1.0f - hyper.beta2) * g * g;
    w = keep * w - rate * m / (sqrtf(v) * root + hyper.eps);
  }
};

/// fn(G{}, std::bool_constant<kSplit>{}).
template <class Fn>
void with_weights(const AdamWState& state, Fn&& fn) {
  with_float_type(state.grad.dtype,
                  [&](auto grad) { state.rest ? fn(grad, std::true_type{}) : fn(grad, std::false_type{}); });
}

}  // namespace sherd::cuda
