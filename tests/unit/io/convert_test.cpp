#include "sherd/io/convert.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace sherd {
namespace {

TEST(Convert, EveryF16) {
  std::vector<std::uint16_t> in(65536 + 3);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(in.size());
  f16_to_f32(in, out);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::uint16_t h = in[i];
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(f16_value(h))) << h;
    const int exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31) continue;
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(out[i], (h & 0x8000) != 0 ? -magnitude : magnitude) << h;
  }
  EXPECT_TRUE(std::isinf(f16_value(0x7c00)));
  EXPECT_TRUE(std::isnan(f16_value(0x7c01)));
}

TEST(Convert, EveryBf16ThereAndBack) {
  std::vector<bf16> in(65536 + 3), back(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) in[i].bits = static_cast<std::uint16_t>(i);
  std::vector<float> out(in.size());
  bf16_to_f32(in, out);
  f32_to_bf16(out, back);
  for (std::size_t i = 0; i < in.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::uint32_t{in[i].bits} << 16);
    ASSERT_TRUE(std::isnan(out[i]) || back[i].bits == in[i].bits) << i;
  }
}

TEST(Convert, Bf16RoundsToNearestEven) {
  const std::vector<float> in = {1.00390625f, 1.01171875f, -3.3895314e38f, 1e-40f};  // two ties; overflow; subnormal
  std::vector<bf16> out(in.size());
  f32_to_bf16(in, out);
  EXPECT_EQ(out[0].bits, 0x3f80);
  EXPECT_EQ(out[1].bits, 0x3f82);
  EXPECT_EQ(out[2].bits, 0xff7f);
  EXPECT_EQ(out[3].bits, 0x0001);
}

}  // namespace
}  // namespace sherd
