#pragma once
// Master weights without a copy: the f32 of bits b is kept as the bf16 that is gathered and computed with, and as the
// 16 bits that it lacks, b - (high << 16): 4 bytes a parameter instead of 6, and nothing lost. Rounding is to nearest;
// ties go away from zero, since to even they would need one remainder more than 16 bits have. One code for all
// backends, kernels included; no branches.
#include <cstdint>

namespace sherd {

/// The bf16 nearest to the f32 of bits `b`. NaN stays NaN (quiet).
constexpr std::uint16_t master_high(std::uint32_t b) {
  const bool nan = (b & 0x7fffffffu) > 0x7f800000u;
  return static_cast<std::uint16_t>(nan ? b >> 16 | 0x40u : (b + 0x8000u) >> 16);
}
/// What join_master adds to it.
constexpr std::int16_t master_rest(std::uint32_t b, std::uint16_t high) {
  return static_cast<std::int16_t>(static_cast<std::uint16_t>(b - (static_cast<std::uint32_t>(high) << 16)));
}
/// b again, to the bit; of a NaN some NaN.
constexpr std::uint32_t join_master(std::uint16_t high, std::int16_t rest) {
  return (static_cast<std::uint32_t>(high) << 16) + static_cast<std::uint32_t>(static_cast<std::int32_t>(rest));
}

}  // namespace sherd
