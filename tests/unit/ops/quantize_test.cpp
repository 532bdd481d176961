// Codes in eight bits and the products of codes, against f64.
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "harness.hpp"
#include "sherd/base/f8.hpp"

namespace sherd::ops_test {
namespace {

constexpr DType kFormats[] = {DType::f8e4m3, DType::f8e5m2};
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

double largest_of(DType format) {
  return format == DType::f8e4m3 ? 448 : 57344;
}
/// Half of the distance of two codes, in relation to the smaller one.
double rounding_of(DType format) {
  return format == DType::f8e4m3 ? 1.0 / 16 : 1.0 / 8;
}

/// The scale by the definition, not by the bits that the code looks at.
double expected_scale(const Values& x, DType format) {
  double largest = 0;
  for (const double v : x) largest = std::max(largest, std::abs(v));
  return largest == 0 ? 1 : std::exp2(std::ceil(std::log2(largest / largest_of(format))));
}

struct Quantized {
  Tensor codes, transposed, scale;
  double factor() const { return values_of(scale)[0]; }
  Values values() const {
    Values out = values_of(codes);
    const double once = factor();  // it is read from the device
    for (double& v : out) v *= once;
    return out;
  }
};

Quantized quantize(Bench& t, Tensor x, DType format) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  Quantized q{t.poison(format, {rows, cols}), t.poison(format, {cols, rows}), t.poison(DType::f32, {1})};
  t.ops->quantize(x, q.codes, q.transposed, q.scale, F8Scale::find, *t.stream);
  return q;
}

/// Into memory of its own, with this scale.
Quantized quantize_by(Bench& t, Tensor x, DType format, Tensor scale) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  const Quantized q{t.poison(format, {rows, cols}), t.poison(format, {cols, rows}), scale};
  t.ops->quantize(x, q.codes, q.transposed, scale, F8Scale::given, *t.stream);
  return q;
}

Values transpose(const Values& x, std::int64_t rows, std::int64_t cols) {
  Values out(x.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      out[static_cast<std::size_t>(j * rows + i)] = x[static_cast<std::size_t>(i * cols + j)];
  return out;
}

/// Tiles' insides, edges and corners; many blocks.
constexpr std::array<std::int64_t, 2> kShapes[] = {{16, 16},   {48, 32},  {128, 128}, {144, 272},
                                                   {400, 112}, {16, 640}, {1040, 16}};

TEST(Quantize, GivesTheNearestCodesInBothLayouts) {
  Bench t;
  for (const DType format : kFormats)
    for (const auto& [rows, cols] : kShapes) {
      const Arena::Scope scope(t.arena);
      const Values x = normal(rows * cols, 1, DType::bf16, 0.37);
      const Quantized q = quantize(t, t.tensor(DType::bf16, {rows, cols}, x), format);
      const double scale = expected_scale(x, format);
      ASSERT_EQ(q.factor(), scale);
      Values expected = x;
      for (double& v : expected) v /= scale;
      const Values codes = values_of(q.codes);
      ASSERT_EQ(codes, values_of(t.tensor(format, {rows, cols}, expected))) << rows << ' ' << cols;
      ASSERT_EQ(values_of(q.transposed), transpose(codes, rows, cols)) << rows << ' ' << cols;
    }
}

TEST(Quantize, MakesEitherLayoutAlone) {
  Bench t;
  const Tensor x = t.tensor(DType::bf16, {144, 160}, normal(144 * 160, 1, DType::bf16));
  const Quantized both = quantize(t, x, DType::f8e5m2);
  const Quantized alone{t.poison(DType::f8e5m2, {144, 160}), t.poison(DType::f8e5m2, {160, 144}),
                        t.poison(DType::f32, {1})};
  t.ops->quantize(x, alone.codes, {}, alone.scale, F8Scale::find, *t.stream);
  t.ops->quantize(x, {}, alone.transposed, alone.scale, F8Scale::find, *t.stream);
  EXPECT_EQ(bits_of(alone.codes), bits_of(both.codes));
  EXPECT_EQ(bits_of(alone.transposed), bits_of(both.transposed));
  EXPECT_EQ(bits_of(alone.scale), bits_of(both.scale));
}

TEST(Quantize, GivesTheSameCodesByTheScaleThatItFound) {
  Bench t;
  for (const DType format : kFormats)
    for (const auto& [rows, cols] : kShapes) {
      const Arena::Scope scope(t.arena);
      const Tensor x = t.strided(DType::bf16, {rows, cols}, normal(rows * cols, 1, DType::bf16, 0.37), 8);
      const Quantized found = quantize(t, x, format);
      const auto scale = bits_of(found.scale);
      const Quantized again = quantize_by(t, x, format, found.scale);
      EXPECT_EQ(bits_of(again.codes), bits_of(found.codes)) << rows << ' ' << cols;
      EXPECT_EQ(bits_of(again.transposed), bits_of(found.transposed)) << rows << ' ' << cols;
      EXPECT_EQ(bits_of(again.scale), scale);
    }
}

/// With another scale than that of x, which shows that it is read, and that nobody looks for the largest.
TEST(Quantize, TakesAGivenScaleAsItIs) {
  Bench t;
  const Values x = normal(48 * 32, 1, DType::bf16);
  const Tensor scale = t.tensor(DType::f32, {1}, {0.25});
  const Quantized q = quantize_by(t, t.tensor(DType::bf16, {48, 32}, x), DType::f8e4m3, scale);
  ASSERT_NE(expected_scale(x, DType::f8e4m3), 0.25);
  EXPECT_EQ(q.factor(), 0.25);
  Values expected = x;
  for (double& v : expected) v /= 0.25;
  EXPECT_EQ(values_of(q.codes), values_of(t.tensor(DType::f8e4m3, {48, 32}, expected)));
  EXPECT_EQ(values_of(q.transposed), transpose(values_of(q.codes), 48, 32));
}

TEST(Quantize, ByAScaleThatIsNaNAllCodesAreNaN) {
  Bench t;
  const Tensor x = t.tensor(DType::bf16, {32, 48}, normal(32 * 48, 1, DType::bf16));
  for (const DType format : kFormats) {
    const Quantized q = quantize_by(t, x, format, t.tensor(DType::f32, {1}, {kNaN}));
    for (const Tensor& each : {q.codes, q.transposed, q.scale})
      for (const double v : values_of(each)) ASSERT_TRUE(std::isnan(v));
  }
}

TEST(Quantize, FindsTheLargestWhereverItIs) {
  constexpr std::int64_t kRows = 272, kCols = 144;
  Bench t;
  for (const std::int64_t at : {std::int64_t{0}, std::int64_t{7}, kCols - 1, kCols * 128, kRows * kCols - 1})
    for (const double sign : {1.0, -1.0}) {
      const Arena::Scope scope(t.arena);
      Values x = normal(kRows * kCols, 1, DType::bf16);
      x[static_cast<std::size_t>(at)] = 1000 * sign;
      const Quantized q = quantize(t, t.tensor(DType::bf16, {kRows, kCols}, x), DType::f8e4m3);
      EXPECT_EQ(q.factor(), 4) << at;                                                 // 1000 / 448 = 2.2
      EXPECT_EQ(values_of(q.codes)[static_cast<std::size_t>(at)], 256 * sign) << at;  // 250, by steps of 16
    }
}

TEST(Quantize, RowsMayLieApart) {
  Bench t;
  const Values x = normal(48 * 32, 1, DType::bf16);
  const Quantized q = quantize(t, t.strided(DType::bf16, {48, 32}, x, 24), DType::f8e4m3);  // the gap is NaN
  const Quantized together = quantize(t, t.tensor(DType::bf16, {48, 32}, x), DType::f8e4m3);
  EXPECT_EQ(bits_of(q.codes), bits_of(together.codes));
  EXPECT_EQ(q.factor(), together.factor());
}

/// A power of two as the scale: no element's code changes with another's, unless it is near the ends of the range.
TEST(Quantize, AnElementDoesNotDependOnTheOthers) {
  for (const DType format : kFormats) {
    Bench t;
    Values x = normal(64 * 64, 1, DType::bf16);
    for (double& v : x) v = std::copysign(std::max(std::abs(v), 0.25), v);
    const Values before = quantize(t, t.tensor(DType::bf16, {64, 64}, x), format).values();
    x[100] = 37;
    Values after = quantize(t, t.tensor(DType::bf16, {64, 64}, x), format).values();
    after[100] = before[100];
    EXPECT_EQ(after, before);
  }
}

TEST(Quantize, WhatIsInEightBitsStaysAsItIs) {
  Bench t;
  const Values once =
      quantize(t, t.tensor(DType::bf16, {64, 64}, normal(64 * 64, 1, DType::bf16)), DType::f8e5m2).values();
  EXPECT_EQ(quantize(t, t.tensor(DType::bf16, {64, 64}, once), DType::f8e5m2).values(), once);
}

TEST(Quantize, OfZerosHasAScaleOfOne) {
  Bench t;
  const Quantized q = quantize(t, t.tensor(DType::bf16, {16, 32}, Values(512, 0.0)), DType::f8e4m3);
  EXPECT_EQ(q.factor(), 1);
  EXPECT_EQ(values_of(q.codes), Values(512, 0.0));
}

TEST(Quantize, OfTinyNumbersHasAnOrdinaryScale) {
  Bench t;
  const Quantized q = quantize(t, t.tensor(DType::bf16, {16, 16}, Values(256, 0x1p-64)), DType::f8e4m3);
  EXPECT_EQ(q.factor(), 0x1p-60);
  EXPECT_EQ(values_of(q.codes), Values(256, 0x1p-4));
}

/// One bad element, and the loss will be NaN: nothing saturates in silence.
TEST(Quantize, NaNAndInfinityReachEveryElementOfAProduct) {
  Bench t;
  for (const DType format : kFormats)
    for (const double bad : {kNaN, kInfinity, -kInfinity}) {
      const Arena::Scope scope(t.arena);
      Values x = normal(32 * 48, 1, DType::bf16);
      x[777] = bad;
      const Quantized a = quantize(t, t.tensor(DType::bf16, {32, 48}, x), format);
      for (const Tensor& each : {a.codes, a.transposed, a.scale})
        for (const double v : values_of(each)) ASSERT_TRUE(std::isnan(v)) << bad;
      const Quantized b = quantize(t, t.tensor(DType::bf16, {16, 48}, normal(16 * 48, 2, DType::bf16)), DType::f8e4m3);
      const Tensor y = t.tensor(DType::f32, {32, 16}, Values(512, 1.0));
      t.ops->linear_f8(a.codes, a.scale, b.codes, b.scale, y, 0, *t.stream);
      for (const double v : values_of(y)) ASSERT_TRUE(std::isnan(v)) << bad;
    }
}

TEST(Quantize, RefusesWhatTensorCoresDo) {
  Bench t;
  const Tensor scale = t.poison(DType::f32, {1});
  const auto refuses = [&](Tensor x, Tensor codes, Tensor transposed = {}) {
    EXPECT_THROW(t.ops->quantize(x, codes, transposed, scale, F8Scale::find, *t.stream), Error) << x.describe();
  };
  const Tensor x = t.poison(DType::bf16, {32, 16}), codes = t.poison(DType::f8e4m3, {32, 16});
  refuses(t.poison(DType::f32, {32, 16}), codes);
  refuses(t.poison(DType::bf16, {24, 16}), t.poison(DType::f8e4m3, {24, 16}));
  refuses(t.poison(DType::bf16, {32, 8}), t.poison(DType::f8e4m3, {32, 8}));
  refuses(x, t.poison(DType::bf16, {32, 16}));
  refuses(x, t.poison(DType::f8e4m3, {16, 32}));
  refuses(x, codes, t.poison(DType::f8e5m2, {16, 32}));
  refuses(x, codes, t.poison(DType::f8e4m3, {32, 16}));
  refuses(x, {});
  Tensor askew = t.poison(DType::bf16, {33, 16}).row_range(0, 32);
  askew.data += 2;
  refuses(askew, codes);
}

TEST(Quantize, RefusesWhatIsNoScale) {
  Bench t;
  const Tensor x = t.poison(DType::bf16, {32, 16}), codes = t.poison(DType::f8e4m3, {32, 16});
  const auto refusal = [&](Tensor scale, F8Scale how) -> std::string {
    try {
      t.ops->quantize(x, codes, {}, scale, how, *t.stream);
    } catch (const Error& e) {
      return e.what();
    }
    return "taken";
  };
  const Tensor short_one = t.poison(DType::bf16, {1}), two = t.poison(DType::f32, {2});
  EXPECT_TRUE(refusal({}, F8Scale::find).starts_with("quantize: no scale to write, expected f32 (1)"));
  EXPECT_TRUE(refusal({}, F8Scale::given).starts_with("quantize: no scale is given, expected f32 (1)"));
  EXPECT_TRUE(refusal(two, F8Scale::find).starts_with("scale is f32 (2), expected f32 (1)"));
  EXPECT_TRUE(refusal(short_one, F8Scale::given).starts_with("given scale is bf16 (1), expected f32 (1)"));
}

// --- products

struct Operand {
  Values x, seen;  // before it was quantized, and as the product sees it
  Quantized q;
};
Operand operand(Bench& t, std::int64_t rows, std::int64_t cols, std::uint64_t stream, DType format) {
  Operand o;
  o.x = normal(rows * cols, stream, DType::bf16);
  o.q = quantize(t, t.tensor(DType::bf16, {rows, cols}, o.x), format);
  o.seen = o.q.values();
  return o;
}

/// a (M, K) b (N, K)^T + beta c.
Values product(const Values& a, const Values& b, const Values& c, double beta, std::int64_t m, std::int64_t n,
               std::int64_t k) {
  Values out;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = beta == 0 ? 0 : beta * c[static_cast<std::size_t>(i * n + j)];
      for (std::int64_t x = 0; x < k; ++x)
        sum += a[static_cast<std::size_t>(i * k + x)] * b[static_cast<std::size_t>(j * k + x)];
      out.push_back(sum);
    }
  return out;
}

constexpr std::array<std::int64_t, 3> kProducts[] = {{16, 16, 16}, {48, 80, 32}, {160, 32, 528}};

TEST(LinearF8, MultipliesTheCodesValues) {
  Bench t;
  for (const DType format : kFormats)
    for (const DType out : kActs)
      for (const auto& [m, n, k] : kProducts)
        for (const float beta : {0.0f, 1.0f, 0.5f}) {
          const Arena::Scope scope(t.arena);
          const Operand a = operand(t, m, k, 1, format), b = operand(t, n, k, 2, DType::f8e4m3);
          const Values before = normal(m * n, 3, out);
          const Tensor y = beta == 0 ? t.poison(out, {m, n}) : t.tensor(out, {m, n}, before);
          t.ops->linear_f8(a.q.codes, a.q.scale, b.q.codes, b.q.scale, y, beta, *t.stream);
          EXPECT_LT(relative_error(values_of(y), product(a.seen, b.seen, before, double{beta}, m, n, k)),
                    tolerance(out))
              << m << ' ' << n << ' ' << k << " beta " << beta;
        }
}

/// Each operand is off by its rounding at most, in relation to itself: |y8 - y| <= (u + v + u v) |a| |b|^T, if nothing
/// lies below the formats' normal numbers, 2^-6 of a largest of 448 and 2^-14 of one of 57344.
TEST(LinearF8, IsAsFarFromTheProductAsRoundingAllows) {
  constexpr std::int64_t kM = 48, kN = 64, kK = 256;
  for (const DType format : kFormats) {
    Bench t;
    const auto not_small = [](Values x) {
      for (double& v : x) v = std::copysign(std::max(std::abs(v), 0x1p-7), v);
      return x;
    };
    const Values x = not_small(normal(kM * kK, 1, DType::bf16)), w = not_small(normal(kN * kK, 2, DType::bf16));
    const Quantized a = quantize(t, t.tensor(DType::bf16, {kM, kK}, x), format);
    const Quantized b = quantize(t, t.tensor(DType::bf16, {kN, kK}, w), DType::f8e4m3);
    const Tensor y = t.poison(DType::f32, {kM, kN});
    t.ops->linear_f8(a.codes, a.scale, b.codes, b.scale, y, 0, *t.stream);
    const auto sizes = [](Values all) {
      for (double& v : all) v = std::abs(v);
      return all;
    };
    const Values found = values_of(y), exact = product(x, w, {}, 0, kM, kN, kK);
    const Values most = product(sizes(x), sizes(w), {}, 0, kM, kN, kK);
    const double u = rounding_of(format), v = rounding_of(DType::f8e4m3), bound = u + v + u * v + 1e-6;
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_LE(std::abs(found[i] - exact[i]), bound * most[i]) << i;
    const double error = relative_error(found, exact);  // roundings cancel
    EXPECT_LT(error, u);
    EXPECT_GT(error, u / 20) << "this was not computed in eight bits";
  }
}

TEST(LinearF8, RepeatsItsBits) {
  std::vector<std::uint32_t> first;
  for (const int threads : {1, 2, 3}) {
    Bench t(threads);
    const Operand a = operand(t, 640, 272, 1, DType::f8e5m2), b = operand(t, 592, 272, 2, DType::f8e4m3);
    const Tensor y = t.poison(DType::bf16, {640, 592});
    t.ops->linear_f8(a.q.codes, a.q.scale, b.q.codes, b.q.scale, y, 0, *t.stream);
    if (first.empty()) first = bits_of(y);
    EXPECT_TRUE(bits_of(y) == first) << threads << " threads";
  }
}

TEST(LinearF8, RefusesOtherFormatsAndShapes) {
  Bench t;
  const Operand a = operand(t, 32, 48, 1, DType::f8e4m3), b = operand(t, 16, 48, 2, DType::f8e4m3);
  const Operand e5m2 = operand(t, 16, 48, 3, DType::f8e5m2);
  const Tensor y = t.poison(DType::f32, {32, 16});
  const auto refuses = [&](Tensor x, Tensor x_scale, Tensor w, Tensor out) {
    EXPECT_THROW(t.ops->linear_f8(x, x_scale, w, b.q.scale, out, 0, *t.stream), Error)
        << x.describe() << ' ' << w.describe() << ' ' << out.describe();
  };
  refuses(a.q.codes, a.q.scale, e5m2.q.codes, y);  // e5m2 is of gradients, and they come first
  refuses(a.q.codes, {}, b.q.codes, y);
  refuses(a.q.codes, a.q.scale, b.q.transposed, y);
  refuses(a.q.codes, a.q.scale, b.q.codes, t.poison(DType::f32, {16, 32}));
  refuses(a.q.codes, a.q.scale, b.q.codes, t.poison(DType::f8e4m3, {32, 16}));
  refuses(t.poison(DType::bf16, {32, 48}), a.q.scale, b.q.codes, y);
  refuses(t.poison(DType::f8e4m3, {24, 48}), a.q.scale, b.q.codes, t.poison(DType::f32, {24, 16}));
}

}  // namespace
}  // namespace sherd::ops_test
