// All codes of both formats, roundings of half a million floats and of all ties, and scales. The checksums are of
// PyTorch's float8 dtypes (tests/golden/make_f8_checksums.py).
#include "sherd/base/f8.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sherd {
namespace {

template <class T>
struct Known;
template <>
struct Known<f8e4m3> {
  static constexpr std::uint64_t values = 0xdad1d9c50f749ca5, rounded = 0x7428e0a36b218148;
  static constexpr int count = 555625;
  static constexpr float largest = 448, smallest = 0x1p-9f;
};
template <>
struct Known<f8e5m2> {
  static constexpr std::uint64_t values = 0x6c1e56b6fb09c905, rounded = 0x69497b7228aa2f01;
  static constexpr int count = 584277;
  static constexpr float largest = 57344, smallest = 0x1p-16f;
};

class Checksum {  // FNV-1a
 public:
  void add(std::uint32_t bytes, int count) {
    for (int i = 0; i < count; ++i) value = (value ^ (bytes >> 8 * i & 0xff)) * 0x100000001b3u;
  }
  std::uint64_t value = 0xcbf29ce484222325u;
};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

template <class T>
class F8 : public testing::Test {};
using Formats = testing::Types<f8e4m3, f8e5m2>;
TYPED_TEST_SUITE(F8, Formats);

TYPED_TEST(F8, HasTheValuesOfPyTorch) {
  Checksum sum;
  for (int code = 0; code < 256; ++code) {
    const float value = value_of_f8(TypeParam{static_cast<std::uint8_t>(code)});
    sum.add(std::isnan(value) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(value), 4);
  }
  EXPECT_EQ(sum.value, Known<TypeParam>::values);
}

TYPED_TEST(F8, RoundsAsPyTorchDoes) {
  Checksum sum;
  int count = 0;
  for (std::uint64_t pattern = 0; pattern < std::uint64_t{1} << 32; pattern += 4099) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(pattern));
    if (!(std::abs(x) <= Known<TypeParam>::largest)) continue;
    sum.add(round_to_f8<TypeParam>(x).bits, 1);
    ++count;
  }
  EXPECT_EQ(count, Known<TypeParam>::count);
  EXPECT_EQ(sum.value, Known<TypeParam>::rounded);
}

TYPED_TEST(F8, KeepsEveryCodeAndRoundsEveryTieToEven) {
  using F = F8Format<TypeParam>;
  for (unsigned code = 0; code <= F::kLargestCode; ++code) {
    const float value = value_of_f8(TypeParam{static_cast<std::uint8_t>(code)});
    EXPECT_EQ(round_to_f8<TypeParam>(value).bits, code);
    EXPECT_EQ(round_to_f8<TypeParam>(-value).bits, code | 0x80u);
    if (code == F::kLargestCode) break;
    const float next = value_of_f8(TypeParam{static_cast<std::uint8_t>(code + 1)}), tie = (value + next) / 2;
    EXPECT_LT(value, next);
    EXPECT_EQ(round_to_f8<TypeParam>(tie).bits, code + code % 2);
    EXPECT_EQ(round_to_f8<TypeParam>(std::nextafter(tie, 0.0f)).bits, code);
    EXPECT_EQ(round_to_f8<TypeParam>(std::nextafter(tie, kInfinity)).bits, code + 1);
  }
}

TYPED_TEST(F8, SaturatesAndKeepsNaN) {
  using F = F8Format<TypeParam>;
  EXPECT_EQ(value_of_f8(round_to_f8<TypeParam>(1e30f)), Known<TypeParam>::largest);
  EXPECT_EQ(round_to_f8<TypeParam>(-1e30f).bits, F::kLargestCode | 0x80u);
  EXPECT_EQ(round_to_f8<TypeParam>(kInfinity).bits, F::kLargestCode);
  EXPECT_EQ(round_to_f8<TypeParam>(kNaN).bits, 0x7f);
  EXPECT_TRUE(std::isnan(value_of_f8(round_to_f8<TypeParam>(-kNaN))));
  EXPECT_EQ(value_of_f8(TypeParam{1}), Known<TypeParam>::smallest);
  EXPECT_EQ(round_to_f8<TypeParam>(Known<TypeParam>::smallest / 2).bits, 0);
}

TYPED_TEST(F8, ItsScaleIsTheSmallestPowerOfTwoThatSaturatesNothing) {
  const auto scale_of = [](float largest) { return scale_for_f8<TypeParam>(std::bit_cast<std::uint32_t>(largest)); };
  for (const float mantissa : {1.0f, 1.5f, 1.75f, 1.7500001f, 1.9999999f})
    for (int exponent = -40; exponent < 128; ++exponent) {
      const float largest = std::ldexp(mantissa, exponent), scale = scale_of(largest);
      int unused = 0;
      EXPECT_EQ(std::frexp(scale, &unused), 0.5f);
      EXPECT_LE(largest / scale, Known<TypeParam>::largest) << largest;
      EXPECT_GT(2 * (largest / scale), Known<TypeParam>::largest) << largest;
    }
  EXPECT_EQ(scale_of(0), 1);
  for (const float tiny : {1e-30f, std::numeric_limits<float>::denorm_min()}) EXPECT_EQ(scale_of(tiny), 0x1p-60f);
  EXPECT_TRUE(std::isnan(scale_of(kInfinity)));
  EXPECT_TRUE(std::isnan(scale_of(kNaN)));
}

}  // namespace
}  // namespace sherd
