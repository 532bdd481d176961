#include <cmath>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

/// c (m, n) = sum over k of a(i, k) b(k, j), both given as functions of indices into row-major values.
Values product(const Values& a, bool a_t, const Values& b, bool b_t, std::int64_t m, std::int64_t n, std::int64_t k) {
  Values c(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum += a[static_cast<std::size_t>(a_t ? l * m + i : i * k + l)] *
               b[static_cast<std::size_t>(b_t ? j * k + l : l * n + j)];
      c[static_cast<std::size_t>(i * n + j)] = sum;
    }
  return c;
}

Values plus(Values a, const Values& b, double factor) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
  return a;
}

struct Shape {
  std::int64_t n, in, out;
};
constexpr Shape kShapes[] = {{1, 7, 5}, {7, 16, 33}, {129, 40, 65}, {300, 600, 97}, {97, 64, 800}, {1030, 24, 48}};

TEST(Linear, ByHand) {
  Bench t;
  const Tensor x = t.tensor(DType::f32, {2, 2}, {1, 2, 3, 4}), w = t.tensor(DType::f32, {3, 2}, {1, 0, 0, 1, 1, 1});
  const Tensor y = t.poison(DType::f32, {2, 3});
  t.ops->linear(x, w, y, *t.stream);
  EXPECT_EQ(values_of(y), (Values{1, 2, 3, 3, 4, 7}));
}

TEST(Linear, ForwardIsEquivalentToReference) {
  for (const DType act : kActs)
    for (const auto& [n, in, out] : kShapes) {
      Bench t;
      const Values x = normal(n * in, 1, act), w = normal(out * in, 2, act);
      const Tensor y = t.poison(act, {n, out});
      t.ops->linear(t.tensor(act, {n, in}, x), t.tensor(act, {out, in}, w), y, *t.stream);
      EXPECT_LT(relative_error(values_of(y), product(x, false, w, true, n, out, in)), tolerance(act)) << n << " " << in;
    }
}

TEST(Linear, InputGradientIsEquivalentToReferenceForEachBeta) {
  for (const DType act : kActs)
    for (const auto& [n, in, out] : kShapes)
      for (const float beta : {0.0f, 1.0f, 0.5f}) {
        Bench t;
        const Values dy = normal(n * out, 1, act), w = normal(out * in, 2, act), before = normal(n * in, 3, act);
        const Tensor dx = beta == 0 ? t.poison(act, {n, in}) : t.tensor(act, {n, in}, before);
        t.ops->linear_grad_input(t.tensor(act, {n, out}, dy), t.tensor(act, {out, in}, w), dx, beta, *t.stream);
        const Values expected = plus(product(dy, false, w, false, n, in, out), before, beta);
        EXPECT_LT(relative_error(values_of(dx), expected), tolerance(act)) << n << " " << in << " beta " << beta;
      }
}

TEST(Linear, WeightGradientIsEquivalentToReferenceForEachBetaAndType) {
  for (const DType act : kActs)
    for (const DType grad : {DType::f32, act})
      for (const auto& [n, in, out] : kShapes)
        for (const float beta : {0.0f, 1.0f}) {
          Bench t;
          const Values dy = normal(n * out, 1, act), x = normal(n * in, 2, act), before = normal(out * in, 3, grad);
          const Tensor dw = beta == 0 ? t.poison(grad, {out, in}) : t.tensor(grad, {out, in}, before);
          t.ops->linear_grad_weight(t.tensor(act, {n, out}, dy), t.tensor(act, {n, in}, x), dw, beta, *t.stream);
          const Values expected = plus(product(dy, true, x, false, out, in, n), before, beta);
          EXPECT_LT(relative_error(values_of(dw), expected), tolerance(grad)) << n << " " << in << " beta " << beta;
        }
}

/// A small gradient must not vanish in a large f32 sum as it would in bf16.
TEST(Linear, WeightGradientOfBf16AccumulatesInF32) {
  Bench t;
  const Tensor one = t.tensor(DType::bf16, {1, 1}, {1}), dw = t.tensor(DType::f32, {1, 1}, {1024});
  for (int i = 0; i < 3; ++i) t.ops->linear_grad_weight(one, one, dw, 1, *t.stream);
  EXPECT_EQ(values_of(dw), Values{1027});
}

TEST(Linear, RowsMayLieApart) {
  constexpr std::int64_t kN = 37, kIn = 24, kOut = 40;
  for (const DType act : kActs) {
    Bench t;
    const Values x = normal(kN * kIn, 1, act), w = normal(kOut * kIn, 2, act), dy = normal(kN * kOut, 3, act);
    const Tensor xs = t.strided(act, {kN, kIn}, x, 9), ws = t.tensor(act, {kOut, kIn}, w);
    const Tensor dys = t.strided(act, {kN, kOut}, dy, 1000);
    const Tensor y = t.strided(act, {kN, kOut}, dy, 5), dx = t.strided(act, {kN, kIn}, x, 3);
    const Tensor dw = t.poison(DType::f32, {kOut, kIn});
    t.ops->linear(xs, ws, y, *t.stream);
    t.ops->linear_grad_input(dys, ws, dx, 0, *t.stream);
    t.ops->linear_grad_weight(dys, xs, dw, 0, *t.stream);
    EXPECT_LT(relative_error(values_of(y), product(x, false, w, true, kN, kOut, kIn)), tolerance(act));
    EXPECT_LT(relative_error(values_of(dx), product(dy, false, w, false, kN, kIn, kOut)), tolerance(act));
    EXPECT_LT(relative_error(values_of(dw), product(dy, true, x, false, kOut, kIn, kN)), tolerance(DType::f32));
    Tensor gap = y;  // what lies between the rows is not touched
    gap.data += static_cast<std::ptrdiff_t>(kOut * static_cast<std::int64_t>(size_of(act)));
    gap.dim[1] = 5;
    for (const double value : values_of(gap.row_range(0, kN))) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Linear, LargeLeadingDimensionsAreTheSame) {
  constexpr std::int64_t kN = 64, kIn = 1024, kOut = 100;
  Bench t;
  const Values x = normal(kN * kIn, 1), w = normal(kOut * kIn, 2);
  const Tensor y = t.poison(DType::f32, {kN, kOut});
  t.ops->linear(t.tensor(DType::f32, {kN, kIn}, x), t.tensor(DType::f32, {kOut, kIn}, w), y, *t.stream);
  EXPECT_LT(relative_error(values_of(y), product(x, false, w, true, kN, kOut, kIn)), tolerance(DType::f32));
}

TEST(Linear, ThreadsDoNotChangeBits) {
  for (const DType act : kActs) {
    std::vector<std::uint32_t> first;
    for (const int threads : {1, 2, 3}) {
      Bench t(threads);
      const Tensor y = t.poison(act, {700, 900});
      t.ops->linear(t.tensor(act, {700, 530}, normal(700 * 530, 1)), t.tensor(act, {900, 530}, normal(900 * 530, 2)), y,
                    *t.stream);
      if (first.empty()) first = bits_of(y);
      EXPECT_TRUE(bits_of(y) == first) << threads << " threads";
    }
  }
}

TEST(Linear, RefusesOtherShapesAndTypes) {
  Bench t;
  const Tensor x = t.poison(DType::f32, {4, 8}), y = t.poison(DType::f32, {4, 3});
  EXPECT_THROW(t.ops->linear(x, t.poison(DType::f32, {3, 7}), y, *t.stream), Error);
  EXPECT_THROW(t.ops->linear(x, t.poison(DType::bf16, {3, 8}), y, *t.stream), Error);
  EXPECT_THROW(t.ops->linear(x, Tensor{}, y, *t.stream), Error);
}

}  // namespace
}  // namespace sherd::ops_test
