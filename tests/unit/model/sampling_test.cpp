#include "sherd/model/sampling.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "sherd/base/error.hpp"

namespace sherd {
namespace {

const std::vector<float> kLogits = {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(1.0f)};  // of 8

TEST(Sampling, TemperatureZeroTakesTheLikeliestWhateverIsDrawn) {
  EXPECT_EQ(choose_token(kLogits, {0, 0}, 0.0), 1);
  EXPECT_EQ(choose_token(kLogits, {0, 3}, 0.999), 1);
}

TEST(Sampling, TheLowerOfEqualsIsTheLikelier) {
  const std::vector<float> equal = {1, 3, 3, 3};
  EXPECT_EQ(choose_token(equal, {0, 0}, 0.5), 1);
  EXPECT_EQ(choose_token(equal, {1, 2}, 0.9), 2);  // 1 and 2 are kept
}

// Shares in the order of likelihood: token 1 has 4/8, token 2 has 2/8, tokens 0 and 3 have 1/8 each.
TEST(Sampling, DrawsByTheSharesOfTheSoftmax) {
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.0), 1);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.49), 1);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.51), 2);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.74), 2);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.76), 0);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, 0.88), 3);
  EXPECT_EQ(choose_token(kLogits, {1, 0}, std::nextafter(1.0, 0.0)), 3);
}

// Halving the temperature squares the weights: 16, 4, 1, 1 of 22.
TEST(Sampling, TemperatureSharpens) {
  EXPECT_EQ(choose_token(kLogits, {0.5, 0}, 0.72), 1);
  EXPECT_EQ(choose_token(kLogits, {0.5, 0}, 0.74), 2);
  EXPECT_EQ(choose_token(kLogits, {0.5, 0}, 0.92), 0);
  EXPECT_EQ(choose_token(kLogits, {0.5, 0}, 0.96), 3);
}

// Of the two likeliest, 4 of 6 and 2 of 6.
TEST(Sampling, TopKLeavesTheOthersOut) {
  EXPECT_EQ(choose_token(kLogits, {1, 2}, 0.65), 1);
  EXPECT_EQ(choose_token(kLogits, {1, 2}, 0.68), 2);
  EXPECT_EQ(choose_token(kLogits, {1, 2}, 0.999), 2);
  EXPECT_EQ(choose_token(kLogits, {1, 1}, 0.999), 1);
  EXPECT_EQ(choose_token(kLogits, {1, 100}, 0.88), 3);
}

TEST(Sampling, FarApartLogitsAndTinyTemperaturesStayFinite) {
  EXPECT_EQ(choose_token(std::vector<float>{-3e38f, 3e38f}, {1e-6, 0}, 0.999), 1);
}

TEST(Sampling, LogitsThatAreNotFiniteAreANumericalError) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    try {
      choose_token(std::vector<float>{0, bad}, {0, 0}, 0);
      FAIL() << "nothing thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::numerical);
      EXPECT_NE(std::string(e.what()).find("not finite"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace sherd
