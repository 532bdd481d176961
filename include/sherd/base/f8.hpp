#pragma once
// Eight-bit floating point, Micikevicius et al., arXiv:2209.05433, with one scale per tensor: element = value of its
// code times the scale. e4m3 (4 bits of exponent, 3 of mantissa, largest 448, no infinities) for weights and
// activations, e5m2 (largest 57344) for gradients, whose range is wider. One code for all backends, kernels included;
// no branches, since it is called in loops that are vectorised.
#include <bit>
#include <cstdint>

#include "sherd/base/dtype.hpp"

namespace sherd {

struct f8e4m3 {
  std::uint8_t bits = 0;
};
struct f8e5m2 {
  std::uint8_t bits = 0;
};
template <>
inline constexpr DType dtype_of<f8e4m3> = DType::f8e4m3;
template <>
inline constexpr DType dtype_of<f8e5m2> = DType::f8e5m2;

constexpr bool is_f8(DType t) {
  return t == DType::f8e4m3 || t == DType::f8e5m2;
}

template <class T>
struct F8Format;
template <>
struct F8Format<f8e4m3> {
  static constexpr int kMantissa = 3, kBias = 7, kLargestExponent = 8;  // 1.75 * 2^8
  static constexpr std::uint32_t kLargestCode = 0x7e;
  static constexpr bool kInfinity = false;
};
template <>
struct F8Format<f8e5m2> {
  static constexpr int kMantissa = 2, kBias = 15, kLargestExponent = 15;  // 1.75 * 2^15
  static constexpr std::uint32_t kLargestCode = 0x7b;
  static constexpr bool kInfinity = true;  // as a code; nothing is rounded to it
};

/// The code nearest to x, ties to even. What is too large, infinity included, becomes the largest finite code; NaN
/// becomes 0x7f: as the instruction cvt.rn.satfinite does it.
template <class T>
constexpr T round_to_f8(float x) {
  using F = F8Format<T>;
  constexpr int kDropped = 23 - F::kMantissa;
  constexpr std::uint32_t kLargest = static_cast<std::uint32_t>(127 + F::kLargestExponent) << 23 | 0x600000u;
  constexpr std::uint32_t kSmallestNormal = static_cast<std::uint32_t>(128 - F::kBias) << 23;
  // The float whose last bit is worth the smallest code: to add it rounds to a multiple of that.
  constexpr std::uint32_t kSteps = static_cast<std::uint32_t>(151 - F::kBias - F::kMantissa) << 23;
  const auto u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = u & 0x7fffffffu, sign = u >> 24 & 0x80u;
  const std::uint32_t rounded = magnitude + (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1u);
  const std::uint32_t normal = (rounded >> kDropped) - (static_cast<std::uint32_t>(127 - F::kBias) << F::kMantissa);
  const bool small = magnitude < kSmallestNormal;
  const float sum = std::bit_cast<float>(small ? magnitude : 0u) + std::bit_cast<float>(kSteps);
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(sum) - kSteps;
  const std::uint32_t finite = magnitude >= kLargest ? F::kLargestCode : small ? subnormal : normal;
  return {static_cast<std::uint8_t>(magnitude > 0x7f800000u ? 0x7fu : sign | finite)};
}

/// Exact; so is bf16 of it.
template <class T>
constexpr float value_of_f8(T code) {
  using F = F8Format<T>;
  const std::uint32_t magnitude = code.bits & 0x7fu, sign = static_cast<std::uint32_t>(code.bits & 0x80u) << 24;
  const std::uint32_t mantissa = magnitude & ((1u << F::kMantissa) - 1), exponent = magnitude >> F::kMantissa;
  constexpr auto kSmallest = std::bit_cast<float>(static_cast<std::uint32_t>(128 - F::kBias - F::kMantissa) << 23);
  const auto subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * kSmallest);
  const std::uint32_t normal =
      (exponent + static_cast<std::uint32_t>(127 - F::kBias)) << 23 | mantissa << (23 - F::kMantissa);
  const std::uint32_t finite = exponent == 0 ? subnormal : normal;
  const std::uint32_t beyond = F::kInfinity && magnitude == F::kLargestCode + 1 ? 0x7f800000u : 0x7fc00000u;
  return std::bit_cast<float>(sign | (magnitude > F::kLargestCode ? beyond : finite));
}

/// The scale of a tensor whose largest magnitude, as it is now, is the float with these bits: the smallest power of two
/// that leaves nothing above T's largest value, and no smaller than 2^-60, so that the product of two scales is an
/// ordinary float. A power of two changes no mantissa: what a rounded element is does not depend on the other elements,
/// but for those near the ends of the range. 1 for a tensor of zeros. NaN where the largest is infinite or NaN, so that
/// all codes are NaN and the loss tells it.
template <class T>
constexpr float scale_for_f8(std::uint32_t largest) {
  constexpr int kMostShift = 60;
  const int exponent = static_cast<int>(largest >> 23) - 127;
  const int above = (largest & 0x7fffffu) > 0x600000u ? 1 : 0;  // than 1.75 times its power of two
  const int shift = F8Format<T>::kLargestExponent - exponent - above;
  const int kept = shift > kMostShift ? kMostShift : shift;
  const std::uint32_t finite = largest == 0 ? 0x3f800000u : static_cast<std::uint32_t>(127 - kept) << 23;
  return std::bit_cast<float>(largest >= 0x7f800000u ? 0x7fc00000u : finite);
}

}  // namespace sherd
