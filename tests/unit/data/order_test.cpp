#include "sherd/data/order.hpp"

#include <gtest/gtest.h>

#include <set>

#include "sherd/base/error.hpp"

namespace sherd {
namespace {

TEST(Permutation, IsABijectionOfEverySize) {
  for (const std::int64_t n :
       {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 100, 255, 256, 257, 1000, 4097, 20000}) {
    const Permutation permutation(n, Random(1, Purpose::order, 0));
    std::vector<bool> seen(static_cast<std::size_t>(n), false);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t image = permutation(i);
      ASSERT_TRUE(image >= 0 && image < n) << n;
      ASSERT_FALSE(seen[static_cast<std::size_t>(image)]) << n;
      seen[static_cast<std::size_t>(image)] = true;
    }
  }
}

TEST(Permutation, StaysInRangeAndDistinctForHugeSizes) {
  const std::int64_t n = (std::int64_t{1} << 40) + 12345;
  const Permutation permutation(n, Random(1, Purpose::order, 0));
  std::set<std::int64_t> images;
  for (std::int64_t i = 0; i < 1000; ++i) images.insert(permutation(n - 1 - i));
  EXPECT_EQ(images.size(), 1000u);
  EXPECT_GE(*images.begin(), 0);
  EXPECT_LT(*images.rbegin(), n);
}

TEST(Permutation, KeysGiveOtherOrdersThatLookRandom) {
  const std::int64_t n = 10000;
  const Permutation a(n, Random(1, Purpose::order, 0)), b(n, Random(2, Purpose::order, 0));
  double fixed = 0, same = 0, ascending = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    fixed += a(i) == i;
    same += a(i) == b(i);
    ascending += i > 0 && a(i) > a(i - 1);
  }
  EXPECT_LT(fixed, 10);  // 1 is expected
  EXPECT_LT(same, 10);   // 1 is expected
  EXPECT_NEAR(ascending / static_cast<double>(n), 0.5, 0.03);
}

TEST(Permutation, RefusesElementsOutside) {
  const Permutation permutation(5, Random(1, Purpose::order, 0));
  EXPECT_THROW(permutation(5), Error);
  EXPECT_THROW(permutation(-1), Error);
  EXPECT_THROW(Permutation(0, Random(1, Purpose::order, 0)), Error);
}

TEST(BatchOrder, VisitsEachBinAtMostOnceAnEpochAndDropsTheRest) {
  BatchOrder order(50, 12, 7);
  EXPECT_EQ(order.steps_per_epoch(), 4);
  std::set<std::int64_t> first, second;
  for (std::int64_t step = 0; step < 8; ++step) {
    for (std::int64_t g = 0; g < 12; ++g) (step < 4 ? first : second).insert(order.bin(step, g));
  }
  EXPECT_EQ(first.size(), 48u);
  EXPECT_EQ(second.size(), 48u);
}

TEST(BatchOrder, IsAFunctionOfSeedAndStepAlone) {
  BatchOrder forward(50, 12, 7), jumps(50, 12, 7), other(50, 12, 8);
  std::vector<std::int64_t> steps;
  int same_as_other = 0, same_as_next_epoch = 0;
  for (std::int64_t step = 0; step < 12; ++step) steps.push_back(forward.bin(step, 3));
  for (const std::int64_t step : {11, 0, 5, 4, 8}) EXPECT_EQ(jumps.bin(step, 3), steps[static_cast<std::size_t>(step)]);
  for (std::int64_t step = 0; step < 4; ++step) {
    for (std::int64_t g = 0; g < 12; ++g) {
      same_as_other += forward.bin(step, g) == other.bin(step, g);
      same_as_next_epoch += forward.bin(step, g) == jumps.bin(step + 4, g);
    }
  }
  EXPECT_LT(same_as_other, 10);
  EXPECT_LT(same_as_next_epoch, 10);
}

TEST(BatchOrder, RefusesFewerBinsThanAGlobalBatch) {
  try {
    BatchOrder(11, 12, 7);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_input);
    EXPECT_NE(std::string(error.what()).find("11 training sequences"), std::string::npos) << error.what();
  }
}

TEST(SequenceOf, CoversAGlobalBatchOnce) {
  const std::int64_t world = 3, rows = 2, micros = 2;
  std::set<std::int64_t> all;
  for (std::int64_t micro = 0; micro < micros; ++micro)
    for (std::int64_t rank = 0; rank < world; ++rank)
      for (std::int64_t b = 0; b < rows; ++b) all.insert(sequence_of(micro, world, rank, rows, b));
  EXPECT_EQ(all.size(), 12u);
  EXPECT_EQ(*all.rbegin(), 11);
  EXPECT_EQ(sequence_of(1, 3, 2, 2, 1), 11);
}

}  // namespace
}  // namespace sherd
