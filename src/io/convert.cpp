#include "sherd/io/convert.hpp"

#include <bit>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "sherd/base/error.hpp"

namespace sherd {

void bf16_to_f32(std::span<const bf16> in, std::span<float> out) {
  SHERD_CHECK(in.size() == out.size(), "{} elements into {}", in.size(), out.size());
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = static_cast<float>(in[i]);
}

void f32_to_bf16(std::span<const float> in, std::span<bf16> out) {
  SHERD_CHECK(in.size() == out.size(), "{} elements into {}", in.size(), out.size());
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = bf16(in[i]);
}

float f16_value(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 0x3ffu;
  if (exponent == 31) {  // infinity; NaNs become quiet, as the CPU's instruction makes them
    const std::uint32_t quiet = mantissa == 0 ? 0u : 0x00400000u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | (mantissa << 13));
  }
  if (exponent == 0) {  // zero and subnormals: mantissa 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

void f16_to_f32(std::span<const std::uint16_t> in, std::span<float> out) {
  SHERD_CHECK(in.size() == out.size(), "{} elements into {}", in.size(), out.size());
  std::size_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= in.size(); i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in.data() + i));
    _mm256_storeu_ps(out.data() + i, _mm256_cvtph_ps(eight));
  }
#endif
  for (; i < in.size(); ++i) out[i] = f16_value(in[i]);
}

}  // namespace sherd
