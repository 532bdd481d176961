#pragma once
// Stored elements to and from f32, vectorised. bf16 -> f32 and f16 -> f32 are exact; f32 -> bf16 rounds to nearest
// even.
#include <cstddef>
#include <cstdint>
#include <span>

#include "sherd/base/dtype.hpp"

namespace sherd {

void bf16_to_f32(std::span<const bf16> in, std::span<float> out);
void f32_to_bf16(std::span<const float> in, std::span<bf16> out);
void f16_to_f32(std::span<const std::uint16_t> in, std::span<float> out);  // IEEE binary16 bit patterns

/// One binary16 number, without the CPU's instruction.
float f16_value(std::uint16_t bits);

}  // namespace sherd
