#pragma once
// Element types (i16 and u8: only to store states in), and bfloat16 as a storage type: 8 bits of exponent, 7 of mantissa, rounded to nearest even.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sherd {

enum class DType : std::uint8_t { f32, bf16, i32, i16, u8 };

constexpr std::size_t size_of(DType t) {
  return t == DType::u8 ? 1 : t == DType::bf16 || t == DType::i16 ? 2 : 4;
}
std::string_view name_of(DType t);             // "f32", "bf16", "i32", "i16", "u8"
DType dtype_from_name(std::string_view name);  // fp32/f32/float32, bf16/bfloat16; usage error otherwise

struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};
static_assert(sizeof(bf16) == 2);

template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::int16_t> = DType::i16;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

}  // namespace sherd
