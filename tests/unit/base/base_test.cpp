#include <gtest/gtest.h>

#include <cmath>

#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/base/tensor.hpp"

namespace sherd {
namespace {

TEST(Log, WhatATerminalWouldObeyIsNotPrinted) {
  EXPECT_EQ(log::printable("a\x1b[2Jb\r\x7f\tc\nd \xc3\xa9"), "a?[2Jb??\tc\nd \xc3\xa9");
  EXPECT_EQ(log::printable("\xc2\x9b\x32J \xc2\xa9"), "??2J \xc2\xa9");
}

TEST(Philox, KnownAnswers) {  // the vectors published with Random123
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t f = 0xffffffff;
  EXPECT_EQ(philox({f, f, f, f}, {f, f}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, NormalHasMeanZeroAndVarianceOne) {
  const Random r(42, Purpose::test, 7);
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) sum += r.normal(i), squares += std::pow(r.normal(i), 2);
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

TEST(Random, StreamsAndPurposesDiffer) {
  EXPECT_NE(Random(1, Purpose::init, 0).bits(5), Random(1, Purpose::order, 0).bits(5));
  EXPECT_NE(Random(1, Purpose::init, 0).bits(5), Random(1, Purpose::init, 1).bits(5));
  EXPECT_NE(Random(1, Purpose::init, 0).bits(5), Random(2, Purpose::init, 0).bits(5));
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // a tie goes to the even mantissa
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::nanf("")))));
  EXPECT_TRUE(std::isinf(static_cast<float>(bf16(INFINITY))));
}

TEST(Narrow, RefusesWhatDoesNotFit) {
  EXPECT_EQ(narrow<int>(std::int64_t{2147483647}), 2147483647);
  EXPECT_THROW(narrow<int>(std::int64_t{2147483648}), Error);
  EXPECT_THROW(narrow<unsigned>(-1), Error);
  EXPECT_THROW(div_exact(7, 2), Error);
  EXPECT_THROW(checked_mul(std::int64_t{1} << 40, std::int64_t{1} << 40), Error);
}

TEST(Tensor, ViewsAndSlices) {
  float data[24] = {};
  const Tensor t = Tensor::make(data, DType::f32, {2, 3, 4});
  EXPECT_EQ(t.numel(), 24);
  EXPECT_EQ(t.rows(), 6);
  const Tensor c = t.col_range(1, 2);
  EXPECT_EQ(c.row_stride, 4);
  EXPECT_FALSE(c.contiguous());
  EXPECT_EQ(c.extent(), (5 * 4 + 2) * sizeof(float));
  EXPECT_EQ(c.view({6, 2}).row_range(1, 1).data, reinterpret_cast<std::byte*>(data + 5));
  EXPECT_THROW(c.view({12}), Error);
  EXPECT_THROW(t.flat(20, 5), Error);
  EXPECT_THROW(t.as<bf16>(), Error);
}

}  // namespace
}  // namespace sherd
