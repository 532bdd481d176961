#pragma once
// AdamW's moments in 8 bits (after Dettmers et al., 8-bit optimizers via block-wise quantization, arXiv:2110.02861):
// blocks of 128 elements of a shard share a scale, the largest magnitude among them, and an element is a code of a
// float with 3 bits of mantissa, relative to it: m with a sign and 16 octaves below the largest, v without one and 32,
// so that what is dropped of v is the square of what is dropped of m. Rounding is stochastic, as in rounding.hpp: the
// expected value is the exact one, so v decays and grows by less than a code's step at a time, where nearest would keep
// it. (Their codes are nearest, of a table with more mantissa near the largest: theirs stand still, ours are noisier.)
//
// Shards are multiples of 128 elements and units begin at one, so a block is the same on any number of ranks. One code
// for all backends, kernels included; no branches.
#include <bit>
#include <cstdint>

namespace sherd {

constexpr std::int64_t kMomentBlock = 128;

/// Codes 0 (zero) to `top` (the scale itself); each 8 further are twice as large.
constexpr std::uint32_t kTopOfM = 127, kTopOfV = 255;
constexpr std::uint32_t kSignOfM = 128;

/// The scale of a block whose largest magnitude is `largest`: it has a reciprocal, by which elements become fractions
/// for encode_moment. (One division a block: a quotient of each element would be most of a kernel's instructions.)
constexpr float moment_scale(float largest) {
  constexpr float kLeast = 0x1p-126f;
  return largest > 0 && largest < kLeast ? kLeast : largest;
}
constexpr float fraction_of_scale(float scale) {
  return 1.0f / (scale > 0 ? scale : 1.0f);
}

/// Of so many random bits, for encode_moment: uniform, and between the values that 20 bits have.
constexpr std::uint32_t spread_random(std::uint32_t random16) {
  return random16 << 4 | 8u;
}
constexpr std::uint32_t kNearest = 1u << 19;  // instead of random bits

namespace detail {
constexpr std::uint32_t kOneTop12 = 0x3f8u;  // the upper 12 bits of 1.0f: sign, exponent, 3 of the mantissa
}

/// In units of the scale: 0 to 1.
constexpr float decode_moment(std::uint32_t code, std::uint32_t top) {
  const std::uint32_t bits = code == 0 ? 0u : (code + (detail::kOneTop12 - top)) << 20;
  return std::bit_cast<float>(bits);
}

/// The code below or above `fraction` (0 to 1): above with the probability of what the lower one leaves. `random` is of
/// [0, 2^20). What a code has stays as it is, also when it is off by a few ulp; what is not a number gives any code.
constexpr std::uint32_t encode_moment(float fraction, std::uint32_t top, std::uint32_t random) {
  const std::uint32_t base = detail::kOneTop12 - top, bits = std::bit_cast<std::uint32_t>(fraction);
  const float smallest = std::bit_cast<float>((base + 1u) << 20);
  const std::uint32_t floating = ((bits + random) >> 20) - base;
  const float drawn = std::bit_cast<float>(0x3f800000u | random << 3);  // 1 + random / 2^20, without a conversion
  const std::uint32_t below = fraction * (1.0f / smallest) + 1.0f > drawn ? 1u : 0u;
  const std::uint32_t code = bits >= (base + 1u) << 20 ? floating : below;
  return code > top ? top : code;
}

/// Of v: nothing but zero is rounded to zero, since m is divided by its root.
constexpr std::uint32_t encode_second_moment(float fraction, std::uint32_t random) {
  const std::uint32_t code = encode_moment(fraction, kTopOfV, random);
  return code == 0 && fraction > 0 ? 1u : code;
}

}  // namespace sherd
