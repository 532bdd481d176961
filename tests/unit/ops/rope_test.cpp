#include <cmath>
#include <numbers>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

constexpr std::int64_t kPositions = 50;

Tensor table(Bench& t, const RopeConfig& config, std::int64_t dim) {
  const Tensor out = t.poison(DType::f32, {kPositions, dim / 2, 2});
  t.ops->rope_table(config, out, *t.stream);
  return out;
}

TEST(Rope, TableByHand) {
  Bench t;
  const Values v = values_of(table(t, {.theta = 100.0}, 4));  // frequencies 1 and 1/10
  EXPECT_EQ(v[0], 1);
  EXPECT_EQ(v[1], 0);
  EXPECT_NEAR(v[3 * 4], std::cos(3.0), 1e-7);
  EXPECT_NEAR(v[3 * 4 + 1], std::sin(3.0), 1e-7);
  EXPECT_NEAR(v[3 * 4 + 2], std::cos(0.3), 1e-7);
  EXPECT_NEAR(v[3 * 4 + 3], std::sin(0.3), 1e-7);
}

/// Llama 3.1: wavelengths below 64 / 4 are kept, above 64 / 1 divided by the factor, between them blended.
TEST(Rope, Llama3StretchesLongWaves) {
  const RopeConfig config{.theta = 10000,
                          .llama3 = true,
                          .factor = 8,
                          .low_freq_factor = 1,
                          .high_freq_factor = 4,
                          .original_max_position = 64};
  Bench t;
  const Values v = values_of(table(t, config, 16));
  for (int j = 0; j < 8; ++j) {
    double f = std::pow(10000.0, -j / 8.0);
    const double wave = 2 * std::numbers::pi / f;
    if (wave > 64) {
      f /= 8;
    } else if (wave > 16) {
      const double smooth = (64 / wave - 1) / 3;
      f *= (1 - smooth) / 8 + smooth;
    }
    EXPECT_NEAR(v[static_cast<std::size_t>(16 + 2 * j)], std::cos(f), 1e-7) << j;
    EXPECT_NEAR(v[static_cast<std::size_t>(16 + 2 * j + 1)], std::sin(f), 1e-7) << j;
  }
}

TEST(Rope, RotatesQueriesAndKeysByThePositionInTheDocument) {
  const Heads heads{3, 1, 16};
  const Values starts = {0, 0, 2, 2, 2, 0, 1, 2, 3, 3};
  constexpr std::int64_t kB = 2, kT = 5;
  for (const DType act : kActs)
    for (const bool inverse : {false, true}) {
      Bench t;
      const Values x = normal(kB * kT * heads.packed(), 1, act);
      const Tensor qkv = t.tensor(act, {kB, kT, heads.packed()}, x);
      t.ops->rope(qkv, t.tensor(DType::i32, {kB, kT}, starts), table(t, {}, 16), heads, inverse, *t.stream);
      Values expected = x;
      for (std::size_t n = 0; n < 10; ++n)
        for (std::size_t h = 0; h < 4; ++h)
          for (std::size_t j = 0; j < 8; ++j) {
            const double position = static_cast<double>(n % 5) - starts[n];
            const double angle = position * std::pow(10000.0, -static_cast<double>(j) / 8) * (inverse ? -1 : 1);
            const std::size_t at = n * 80 + h * 16 + j;
            expected[at] = x[at] * std::cos(angle) - x[at + 8] * std::sin(angle);
            expected[at + 8] = x[at + 8] * std::cos(angle) + x[at] * std::sin(angle);
          }
      EXPECT_LT(relative_error(values_of(qkv), expected), tolerance(act));
    }
}

TEST(Rope, InverseUndoesIt) {
  const Heads heads{2, 2, 6};
  Bench t;
  const Values x = normal(7 * heads.packed(), 1);
  const Tensor qkv = t.tensor(DType::f32, {1, 7, heads.packed()}, x), turns = table(t, {}, 6);
  const Tensor starts = t.tensor(DType::i32, {1, 7}, Values(7, 0.0));
  t.ops->rope(qkv, starts, turns, heads, false, *t.stream);
  EXPECT_GT(relative_error(values_of(qkv), x), 0.1);
  t.ops->rope(qkv, starts, turns, heads, true, *t.stream);
  EXPECT_LT(relative_error(values_of(qkv), x), 1e-6);
}

/// More packs of one token than a block has threads, and heads that do not share out evenly.
TEST(Rope, RotatesManyHeadsAsItRotatesOne) {
  for (const DType act : kActs)
    for (const std::int64_t kv : {1, 2}) {
      const Heads heads{70, kv, 64}, one{1, 0, 64};
      constexpr std::int64_t kT = 3;
      Bench t;
      const std::int64_t turned = heads.query + heads.kv;
      const Values x = normal(kT * heads.packed(), 1, act);
      const Tensor qkv = t.tensor(act, {1, kT, heads.packed()}, x), turns = table(t, {}, 64);
      const Tensor starts = t.tensor(DType::i32, {1, kT}, Values(kT, 0.0));
      t.ops->rope(qkv, starts, turns, heads, false, *t.stream);
      const Values all = values_of(qkv);
      for (std::int64_t h = 0; h < turned + kv; ++h) {
        Values mine, expected;
        for (std::int64_t row = 0; row < kT; ++row)
          for (std::int64_t j = 0; j < 64; ++j) {
            const auto at = static_cast<std::size_t>(row * heads.packed() + h * 64 + j);
            mine.push_back(x[at]);
            expected.push_back(all[at]);
          }
        const Tensor alone = t.tensor(act, {1, kT, 64}, mine);
        if (h < turned) t.ops->rope(alone, starts, turns, one, false, *t.stream);  // values stay
        EXPECT_EQ(values_of(alone), expected) << h;
      }
    }
}

TEST(Rope, RefusesPositionsBeyondTheTable) {
  const Heads heads{1, 1, 4};
  Bench t;
  const Tensor qkv = t.tensor(DType::f32, {1, 60, 12}, Values(60 * 12, 1.0));
  EXPECT_THROW(
      {
        t.ops->rope(qkv, t.tensor(DType::i32, {1, 60}, Values(60, 0.0)), table(t, {}, 4), heads, false, *t.stream);
        t.stream->synchronize();
      },
      Error);
}

}  // namespace
}  // namespace sherd::ops_test
