// Codes of moments in 8 bits, and what rounding makes of them. (adamw_memory_test.cpp has the optimizer's use of them.)
#include "sherd/ops/eight_bit.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sherd/base/rng.hpp"

namespace sherd {
namespace {

TEST(EightBit, CodesStayAsTheyAre) {
  for (const std::uint32_t top : {kTopOfM, kTopOfV})
    for (std::uint32_t code = 0; code <= top; ++code)
      for (const std::uint32_t random : {spread_random(0), kNearest, spread_random(0xffff)})
        ASSERT_EQ(encode_moment(decode_moment(code, top), top, random), code);
  EXPECT_EQ(decode_moment(kTopOfM, kTopOfM), 1.0f);
  EXPECT_EQ(decode_moment(kTopOfV, kTopOfV), 1.0f);
  EXPECT_EQ(decode_moment(kTopOfM - 8, kTopOfM), 0.5f);
  EXPECT_EQ(decode_moment(1, kTopOfM), 1.25f * 0x1p-16f);
  EXPECT_EQ(decode_moment(1, kTopOfV), 1.25f * 0x1p-32f);
  for (std::uint32_t code = 0; code < kTopOfV; ++code)
    ASSERT_LT(decode_moment(code, kTopOfV), decode_moment(code + 1, kTopOfV));
}

/// Elements are multiplied by the reciprocal of a scale, which there is however small a block's moments are.
TEST(EightBit, EveryScaleHasAReciprocal) {
  for (const float largest : {0.0f, 0x1p-149f, 0x1p-127f, 0x1p-126f, 0.3f, 1.0f, 3e38f}) {
    const float scale = moment_scale(largest), fraction = fraction_of_scale(scale);
    EXPECT_GE(scale, largest);
    EXPECT_TRUE(std::isfinite(fraction) && fraction > 0) << largest;
    EXPECT_EQ(encode_moment(0 * fraction, kTopOfM, spread_random(0xffff)), 0u) << largest;
    if (largest < 0x1p-126f) continue;
    for (const std::uint32_t random : {spread_random(0), spread_random(0xffff)}) {
      EXPECT_EQ(encode_moment(largest * fraction, kTopOfM, random), kTopOfM) << largest;
      EXPECT_EQ(encode_second_moment(largest * fraction, random), kTopOfV) << largest;
    }
  }
  EXPECT_TRUE(std::isnan(moment_scale(std::numeric_limits<float>::quiet_NaN())));
}

/// A code's value, decoded and taken as a fraction of the scale again, is off by the ulp of two products.
TEST(EightBit, CodesSurviveEveryScale) {
  const Random random(4, Purpose::test, 0);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto scale = static_cast<float>(std::ldexp(0.5 + 0.5 * random.uniform(i), static_cast<int>(i % 180) - 60));
    const float per_scale = fraction_of_scale(scale);
    for (std::uint32_t code = 0; code <= kTopOfV; ++code)
      for (const std::uint32_t draw : {spread_random(0), spread_random(0xffff)}) {
        const float v = scale * decode_moment(code, kTopOfV), m = scale * decode_moment(code / 2, kTopOfM);
        ASSERT_EQ(encode_second_moment(v * per_scale, draw), code) << scale;
        ASSERT_EQ(encode_moment(m * per_scale, kTopOfM, draw), code / 2) << scale;
      }
  }
}

/// The mean over all random numbers is the fraction itself, and none of them goes further than to a neighbour.
TEST(EightBit, RoundsToNeighboursWithTheExactMean) {
  const Random random(3, Purpose::test, 0);
  for (const std::uint32_t top : {kTopOfM, kTopOfV}) {
    for (std::uint64_t i = 0; i < 40; ++i) {
      const int octaves = static_cast<int>(i) - 2;  // from 1 down to far below the smallest code
      const auto x = static_cast<float>(std::ldexp(0.5 + 0.5 * random.uniform(i), -std::max(octaves, 0)));
      double sum = 0, lowest = 2, highest = -1;
      for (std::uint32_t r = 0; r < 0x10000u; ++r) {
        const double value = decode_moment(encode_moment(x, top, spread_random(r)), top);
        sum += value;
        lowest = std::min(lowest, value);
        highest = std::max(highest, value);
      }
      const double step = highest - lowest, smallest = decode_moment(1, top);
      EXPECT_NEAR(sum / 0x10000, x, 1e-4 * (step + x) + smallest / 0x10000) << x;
      EXPECT_LE(lowest, x);
      EXPECT_LE(x - highest, smallest / 0x10000);
      EXPECT_LE(step, std::max(x / 8.0 * 1.001, smallest));
    }
  }
}

}  // namespace
}  // namespace sherd
