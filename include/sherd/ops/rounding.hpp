#pragma once
// Stochastic rounding of AdamW's moments to bf16 (Gupta et al., arXiv:1502.02551): up with the probability of what the
// lower neighbour leaves, so that the expected value is the exact one. Nearest would keep v forever where it is once
// (1 - beta2) |g^2 - v| is less than half a bf16 step of v: with beta2 = 0.999 it would not even decay. One code for
// all backends, kernels included.
#include <array>
#include <bit>
#include <cstdint>

#include "sherd/base/dtype.hpp"
#include "sherd/base/rng.hpp"

namespace sherd {

/// A draw serves the aligned group of so many elements of a parameter: 32 of its bits each, 16 for m and 16 for v.
constexpr std::uint64_t kRoundingGroup = 4;

/// Of one step, for AdamWScalars::rounding_key: every step rounds with other bits.
inline std::array<std::uint32_t, 2> rounding_key(std::uint64_t seed, std::uint64_t step) {
  const std::uint64_t bits = Random(seed, Purpose::rounding, step).bits(0);
  return {static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32)};
}

/// The bits of m and of v: the lower and the upper half of word e % kRoundingGroup of PhiloxKey{key, name hash}.draw(e
/// / kRoundingGroup), e being the element within its parameter, whatever rank, shard or thread holds it.
constexpr std::uint32_t bits_for_m(std::uint32_t word) {
  return word & 0xffffu;
}
constexpr std::uint32_t bits_for_v(std::uint32_t word) {
  return word >> 16;
}

/// The bf16 below or above the f32 of bits `x`, in magnitude: `random`, uniform in [0, 2^16), is added below the kept
/// mantissa, and the rest cut off. A value that bf16 has stays as it is. So do infinities; NaN stays NaN (quiet), and
/// what is finite beyond the largest bf16 (3.39e38) becomes that, never infinity. Both outcomes, no branch: it is
/// called in loops that are vectorised.
constexpr std::uint16_t round_stochastically(std::uint32_t x, std::uint32_t random) {
  constexpr std::uint32_t kLargest = 0x7f7f0000u, kInfinity = 0x7f800000u;
  const std::uint32_t magnitude = x & 0x7fffffffu;
  const std::uint32_t rounded = (x + (magnitude < kLargest ? random : 0u)) >> 16;
  return static_cast<std::uint16_t>(magnitude > kInfinity ? rounded | 0x40u : rounded);
}

/// A moment as it is stored: f32 as it is; bf16 rounded by 16 random bits.
template <class M>
constexpr M stored_moment(float x, [[maybe_unused]] std::uint32_t random) {
  if constexpr (sizeof(M) == sizeof(float)) {
    return x;
  } else {
    M out;
    out.bits = round_stochastically(std::bit_cast<std::uint32_t>(x), random);
    return out;
  }
}

}  // namespace sherd
