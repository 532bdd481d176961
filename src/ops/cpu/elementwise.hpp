#pragma once
// Scalar functions that the compiler vectorises inside `omp simd` loops: no branches, no calls.
#include <bit>
#include <cstdint>

#include "sherd/base/dtype.hpp"

namespace sherd::cpu {

namespace detail {

/// x = n ln2 + r with |r| <= ln2 / 2: e^r by the minimax polynomial of degree 6 (Cephes), and n.
struct ExpParts {
  float power;
  std::int32_t n;
};
inline ExpParts exp_parts(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return {p, std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound)};
}

/// 2^n for -126 <= n <= 127.
inline float power_of_two(std::int32_t n) {
  return std::bit_cast<float>((n + 127) << 23);
}

}  // namespace detail

/// e^x to about 1.5 ulp for any x (below -87.3 it is e^-87.3 = 1.2e-38; above 88.7 infinity). NaN stays NaN.
inline float exp_f32(float x) {
  const detail::ExpParts e = detail::exp_parts(x < -87.3f ? -87.3f : (x > 89.0f ? 89.0f : x));
  // 2^n in two factors: n = 128 is beyond what one float's exponent holds.
  const std::int32_t half = e.n >> 1;
  return e.power * detail::power_of_two(half) * detail::power_of_two(e.n - half);
}

/// The same for x <= 88, as in a softmax; for larger x any value. NaN stays NaN.
inline float exp_f32_to_88(float x) {
  const detail::ExpParts e = detail::exp_parts(x < -87.3f ? -87.3f : x);
  return e.power * detail::power_of_two(e.n);
}

inline float sigmoid(float x) {
  return 1.0f / (1.0f + exp_f32(-x));
}

inline float to_f32(float x) {
  return x;
}
inline float to_f32(bf16 x) {
  return static_cast<float>(x);
}

/// Rounded to nearest even like bf16(x), but with both outcomes computed: a branch would keep the loop scalar.
template <class T>
T from_f32(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x;
  } else {
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, nan = (u >> 16) | 0x40u;
    T out;
    out.bits = static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    return out;
  }
}

}  // namespace sherd::cpu
