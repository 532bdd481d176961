#include <cmath>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

constexpr float kEps = 1e-5f;

struct Shape {
  std::int64_t n, c;
};
constexpr Shape kShapes[] = {{1, 1}, {7, 40}, {129, 33}, {200, 576}};

Values reference(const Values& x, const Values& gain, Values* rstd = nullptr) {
  const std::size_t c = gain.size();
  Values y(x.size());
  for (std::size_t row = 0; row < x.size(); row += c) {
    double squares = 0;
    for (std::size_t i = 0; i < c; ++i) squares += x[row + i] * x[row + i];
    const double r = 1 / std::sqrt(squares / static_cast<double>(c) + kEps);
    if (rstd) rstd->push_back(r);
    for (std::size_t i = 0; i < c; ++i) y[row + i] = x[row + i] * r * gain[i];
  }
  return y;
}

TEST(RmsNorm, ByHand) {
  Bench t;
  const Tensor y = t.poison(DType::f32, {1, 2}), rstd = t.poison(DType::f32, {1});
  t.ops->rmsnorm(t.tensor(DType::f32, {1, 2}, {3, 4}), t.tensor(DType::f32, {2}, {1, 2}), 0, y, rstd, *t.stream);
  const double r = 1 / std::sqrt(12.5);
  EXPECT_NEAR(values_of(rstd)[0], r, 1e-7);
  EXPECT_NEAR(values_of(y)[0], 3 * r, 1e-6);
  EXPECT_NEAR(values_of(y)[1], 8 * r, 1e-6);
}

TEST(RmsNorm, IsEquivalentToReference) {
  for (const DType act : kActs)
    for (const auto& [n, c] : kShapes) {
      Bench t;
      const Values x = normal(n * c, 1, act), gain = normal(c, 2, act);
      const Tensor y = t.poison(act, {n, c}), rstd = t.poison(DType::f32, {n});
      const Tensor xs = t.tensor(act, {n, c}, x), gains = t.tensor(act, {c}, gain);
      t.ops->rmsnorm(xs, gains, kEps, y, rstd, *t.stream);
      Values r;
      EXPECT_LT(relative_error(values_of(y), reference(x, gain, &r)), tolerance(act)) << n << " " << c;
      EXPECT_LT(relative_error(values_of(rstd), r), 1e-6);
      const Tensor again = t.poison(act, {n, c});
      t.ops->rmsnorm(xs, gains, kEps, again, Tensor{}, *t.stream);
      EXPECT_EQ(bits_of(again), bits_of(y));
    }
}

TEST(RmsNorm, ResidualIsTheRoundedSumThenTheNorm) {
  for (const DType act : kActs)
    for (const auto& [n, c] : kShapes)
      for (const bool in_place : {false, true}) {
        Bench t;
        const Values x = normal(n * c, 1, act), branch = normal(n * c, 2, act), gain = normal(c, 3, act);
        const Tensor xs = t.tensor(act, {n, c}, x), gains = t.tensor(act, {c}, gain);
        const Tensor sum = in_place ? xs : t.poison(act, {n, c}), y = t.poison(act, {n, c});
        const Tensor rstd = t.poison(DType::f32, {n}), expected = t.poison(act, {n, c});
        t.ops->rmsnorm_residual(xs, t.tensor(act, {n, c}, branch), gains, kEps, sum, y, rstd, *t.stream);
        Values total = x;
        for (std::size_t i = 0; i < x.size(); ++i) total[i] += branch[i];
        EXPECT_EQ(bits_of(sum), bits_of(t.tensor(act, {n, c}, total)));
        t.ops->rmsnorm(sum, gains, kEps, expected, Tensor{}, *t.stream);
        EXPECT_EQ(bits_of(y), bits_of(expected));
      }
}

struct Gradients {
  Tensor dx, dgain;
};
Gradients gradients(Bench& t, DType act, DType grad, Shape shape, float beta, const Values& before_x,
                    const Values& before_gain) {
  const auto [n, c] = shape;
  const Tensor x = t.tensor(act, {n, c}, normal(n * c, 1, act)), gain = t.tensor(act, {c}, normal(c, 2, act));
  const Tensor rstd = t.poison(DType::f32, {n});
  t.ops->rmsnorm(x, gain, kEps, t.poison(act, {n, c}), rstd, *t.stream);
  const Gradients g{t.tensor(act, {n, c}, before_x),
                    beta == 0 ? t.poison(grad, {c}) : t.tensor(grad, {c}, before_gain)};
  t.ops->rmsnorm_grad(t.tensor(act, {n, c}, normal(n * c, 3, act)), x, gain, rstd, g.dx, g.dgain, beta, *t.stream);
  return g;
}

TEST(RmsNorm, GradientIsTheFiniteDifference) {
  for (const Shape shape : {Shape{1, 1}, Shape{5, 9}, Shape{70, 17}})
    for (const float beta : {0.0f, 1.0f, 0.5f}) {
      Bench t;
      const auto [n, c] = shape;
      const Values x = normal(n * c, 1), gain = normal(c, 2), dy = normal(n * c, 3);
      const Values before_x = normal(n * c, 4), before_gain = normal(c, 5);
      const Gradients g = gradients(t, DType::f32, DType::f32, shape, beta, before_x, before_gain);
      Values dx = numeric_gradient([&](const Values& v) { return dot(reference(v, gain), dy); }, x);
      Values dgain = numeric_gradient([&](const Values& v) { return dot(reference(x, v), dy); }, gain);
      for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += before_x[i];
      for (std::size_t i = 0; i < dgain.size(); ++i) dgain[i] += beta * before_gain[i];
      EXPECT_LT(relative_error(values_of(g.dx), dx), 2e-6) << n << " " << c;
      EXPECT_LT(relative_error(values_of(g.dgain), dgain), 2e-6) << n << " " << c << " beta " << beta;
    }
}

TEST(RmsNorm, GradientInBf16IsTheFiniteDifference) {
  constexpr std::int64_t kN = 30, kC = 24;
  const Values x = normal(kN * kC, 1, DType::bf16), gain = normal(kC, 2, DType::bf16);
  const Values dy = normal(kN * kC, 3, DType::bf16), zero(kN * kC, 0.0);
  const Values dx = numeric_gradient([&](const Values& v) { return dot(reference(v, gain), dy); }, x);
  const Values dgain = numeric_gradient([&](const Values& v) { return dot(reference(x, v), dy); }, gain);
  for (const DType grad : kActs) {
    Bench t;
    const Gradients g = gradients(t, DType::bf16, grad, {kN, kC}, 0, zero, {});
    EXPECT_LT(relative_error(values_of(g.dx), dx), tolerance(DType::bf16));
    EXPECT_LT(relative_error(values_of(g.dgain), dgain), grad == DType::f32 ? 1e-5 : tolerance(grad));
  }
}

TEST(RmsNorm, ThreadsDoNotChangeBits) {
  for (const DType act : kActs) {
    std::vector<std::uint32_t> first_x, first_gain;
    for (const int threads : {1, 2, 3}) {
      Bench t(threads);
      const Gradients g = gradients(t, act, DType::f32, {333, 50}, 0, normal(333 * 50, 4, act), {});
      if (threads == 1) first_x = bits_of(g.dx), first_gain = bits_of(g.dgain);
      EXPECT_EQ(bits_of(g.dx), first_x);
      EXPECT_EQ(bits_of(g.dgain), first_gain);
    }
  }
}

/// dx and dgain of dy in f64.
void reference_gradient(const Values& x, const Values& gain, const Values& dy, Values& dx, Values& dgain) {
  Values rstd;
  reference(x, gain, &rstd);
  dx.resize(x.size());
  dgain.resize(gain.size());
  for (std::size_t row = 0; row < rstd.size(); ++row) {
    const auto at = [&](std::size_t i) { return row * gain.size() + i; };
    double mean = 0;
    for (std::size_t i = 0; i < gain.size(); ++i)
      mean += dy[at(i)] * gain[i] * x[at(i)] * rstd[row] / static_cast<double>(gain.size());
    for (std::size_t i = 0; i < gain.size(); ++i) {
      const double h = x[at(i)] * rstd[row];
      dx[at(i)] = rstd[row] * (dy[at(i)] * gain[i] - h * mean);
      dgain[i] += dy[at(i)] * h;
    }
  }
}

/// Rows wider than a block keeps in registers (the gradient from 4096 in f32 on, the norm from 8192), rows of which it
/// takes several packs a thread, and more rows than there are blocks for.
TEST(RmsNorm, GradientOfWideAndOfManyRows) {
  for (const Shape shape : {Shape{1, 12288}, Shape{3, 4096}, Shape{1030, 20}}) {
    const auto [n, c] = shape;
    Bench t;
    const Values x = normal(n * c, 1), gain = normal(c, 2), zeros(x.size(), 0.0);
    Values dx, dgain;
    reference_gradient(x, gain, normal(n * c, 3), dx, dgain);
    const Gradients g = gradients(t, DType::f32, DType::f32, shape, 0, zeros, {});
    EXPECT_LT(relative_error(values_of(g.dx), dx), tolerance(DType::f32)) << n << " " << c;
    EXPECT_LT(relative_error(values_of(g.dgain), dgain), tolerance(DType::f32)) << n << " " << c;
  }
}

/// Several rows a block and several warps a row: launched so often that the emulated device tries each order of
/// threads.
TEST(RmsNorm, GradientRepeatsItsBits) {
  constexpr Shape kShape{260, 2056};
  Bench t;
  const Values zeros(static_cast<std::size_t>(kShape.n * kShape.c), 0.0);
  const Gradients first = gradients(t, DType::bf16, DType::f32, kShape, 0, zeros, {});
  for (int i = 0; i < 4; ++i) {
    const Gradients again = gradients(t, DType::bf16, DType::f32, kShape, 0, zeros, {});
    EXPECT_EQ(bits_of(again.dx), bits_of(first.dx)) << i;
    EXPECT_EQ(bits_of(again.dgain), bits_of(first.dgain)) << i;
  }
}

TEST(RmsNorm, OfWideRows) {
  for (const DType act : kActs)
    for (const auto& [n, c] : {Shape{1, 12288}, Shape{2, 4096}, Shape{1, 17408}}) {
      Bench t;
      const Values x = normal(n * c, 1, act), gain = normal(c, 2, act);
      const Tensor y = t.poison(act, {n, c});
      t.ops->rmsnorm(t.tensor(act, {n, c}, x), t.tensor(act, {c}, gain), kEps, y, Tensor{}, *t.stream);
      EXPECT_LT(relative_error(values_of(y), reference(x, gain)), tolerance(act)) << n << " " << c;
    }
}

}  // namespace
}  // namespace sherd::ops_test
