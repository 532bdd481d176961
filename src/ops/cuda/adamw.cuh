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

/// As cuda::store, which nvcc would split into stores of 4 bytes here (docs/gpu/log.md).
template <class T, int kN>
__device__ inline void store_pack(T* to, const Pack<T, kN>& value) {
  typename WordOf<sizeof(T) * kN>::Type word;
  std::memcpy(static_cast<void*>(&word), &value, sizeof word);
  store_at_once(to, word);
}

/// kN elements of masters and gradients; kSplit: masters are `copy` and `rest`. G: float or bf16.
template <class G, bool kSplit, int kN = kGroup>
struct Weights {
  float* master;
  const G* grad;
  bf16* copy;  // null: parameters are stored in f32
  std::int16_t* rest;

  struct Group {
    float grad[kN], master[kN];
  };
  __device__ void load(std::int64_t at, Group& e) const {
    load_f32<kN>(e.grad, grad + at);
    if constexpr (kSplit) {
      const Pack<bf16, kN> high = cuda::load<kN>(copy + at);
      const Pack<std::int16_t, kN> low = cuda::load<kN>(rest + at);
      for (int j = 0; j < kN; ++j) e.master[j] = std::bit_cast<float>(join_master(high.at[j].bits, low.at[j]));
    } else {
      load_f32<kN>(e.master, master + at);
    }
  }
  __device__ void store(std::int64_t at, const Group& e) const {
    if constexpr (kSplit) {
      Pack<bf16, kN> high;
      Pack<std::int16_t, kN> low;
      for (int j = 0; j < kN; ++j) {
        const auto bits = std::bit_cast<std::uint32_t>(e.master[j]);
        high.at[j].bits = master_high(bits);
        low.at[j] = master_rest(bits, high.at[j].bits);
      }
      store_pack(rest + at, low);
      store_pack(copy + at, high);
    } else {
      for (int i = 0; i < kN; i += kGroup) {
        Pack<float, kGroup> part;
        for (int j = 0; j < kGroup; ++j) part.at[j] = e.master[i + j];
        store_pack(master + at + i, part);
      }
      Pack<bf16, kN> rounded;
      for (int j = 0; j < kN; ++j) rounded.at[j] = from_f32<bf16>(e.master[j]);
      if (copy != nullptr) store_pack(copy + at, rounded);
    }
  }
  __device__ void load_one(std::int64_t at, Group& e, int j) const {
    e.grad[j] = to_f32(grad[at]);
    e.master[j] = kSplit ? std::bit_cast<float>(join_master(copy[at].bits, rest[at])) : master[at];
  }
  __device__ void store_one(std::int64_t at, const Group& e, int j) const {
    const float w = e.master[j];
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
template <class W>
W weights_of(const AdamWState& state) {
  return {reinterpret_cast<float*>(state.master.data), reinterpret_cast<decltype(W::grad)>(state.grad.data),
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
    // Two ulp of the update: w's own rounding is coarser.
    w = keep * w - rate * m * reciprocal_approx(sqrt_approx(v) * root + hyper.eps);
  }
};

/// fn(G{}, std::bool_constant<kSplit>{}).
template <class Fn>
void with_weights(const AdamWState& state, Fn&& fn) {
  with_float_type(state.grad.dtype,
                  [&](auto grad) { state.rest ? fn(grad, std::true_type{}) : fn(grad, std::false_type{}); });
}

}  // namespace sherd::cuda
