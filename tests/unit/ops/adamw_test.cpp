#include <cmath>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

constexpr AdamWHyper kHyper{.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};

/// torch.optim.AdamW in f64, one element, `steps` steps of the same gradient.
double reference(double p, double g, double lr, double decay, int steps, double* m_out = nullptr) {
  double m = 0, v = 0;
  for (int t = 1; t <= steps; ++t) {
    p *= 1 - lr * decay;
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    p -= lr * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-8);
  }
  if (m_out) *m_out = m;
  return p;
}

struct Optimizer {
  Tensor lr, c1, c2, clip;
  AdamWState state;
  void step(Bench& t, std::span<const DecayRun> runs, int number) {
    c1 = t.tensor(DType::f32, {1}, {1 - std::pow(0.9, number)});
    c2 = t.tensor(DType::f32, {1}, {1 - std::pow(0.95, number)});
    t.ops->adamw(state, runs, kHyper, {lr, c1, c2, clip}, *t.stream);
  }
};
Optimizer optimizer(Bench& t, const Values& p, const Values& g, double lr, double clip, bool copy) {
  const auto n = static_cast<std::int64_t>(p.size());
  const auto scalar = [&](double x) { return t.tensor(DType::f32, {1}, {x}); };
  return {scalar(lr),
          scalar(0),
          scalar(0),
          scalar(clip),
          {t.tensor(DType::f32, {n}, p), t.tensor(DType::f32, {n}, g), t.tensor(DType::f32, {n}, Values(p.size(), 0.0)),
           t.tensor(DType::f32, {n}, Values(p.size(), 0.0)), copy ? t.poison(DType::bf16, {n}) : Tensor{}}};
}

TEST(AdamW, FirstStepIsTheSignTimesTheRate) {
  Bench t;
  Optimizer o = optimizer(t, {1, 1, 1}, {0.5, -3, 0}, 0.1, 1, false);
  const DecayRun all[] = {{0, 3, 0.0f}};
  o.step(t, all, 1);
  const Values p = values_of(o.state.master);
  EXPECT_NEAR(p[0], 0.9, 1e-6);
  EXPECT_NEAR(p[1], 1.1, 1e-6);
  EXPECT_EQ(p[2], 1);
}

TEST(AdamW, IsTorchsOverManySteps) {
  constexpr std::int64_t kN = 20000;
  for (const double clip : {1.0, 0.25}) {
    Bench t;
    const Values p = normal(kN, 1), g = normal(kN, 2, DType::f32, 1e-3);
    Optimizer o = optimizer(t, p, g, 0.01, clip, true);
    const DecayRun runs[] = {{0, 1, 0.1f}, {1, 9000, 0.0f}, {9010, kN - 9010, 0.1f}};
    for (int number = 1; number <= 5; ++number) o.step(t, runs, number);
    Values expected, moments(static_cast<std::size_t>(kN));
    for (std::int64_t i = 0; i < kN; ++i) {
      const bool padding = i >= 9001 && i < 9010, plain = i >= 1 && i < 9001;
      const auto at = static_cast<std::size_t>(i);
      expected.push_back(padding ? p[at] : reference(p[at], clip * g[at], 0.01, plain ? 0 : 0.1f, 5, &moments[at]));
    }
    EXPECT_LT(relative_error(values_of(o.state.master), expected), 1e-6);
    EXPECT_LT(relative_error(values_of(o.state.m), moments), 1e-6);
    const Values copy = values_of(o.state.copy), master = values_of(o.state.master);
    for (std::int64_t i = 0; i < kN; ++i) {
      const auto value = static_cast<float>(copy[static_cast<std::size_t>(i)]);
      if (i >= 9001 && i < 9010) {
        ASSERT_TRUE(std::isnan(value));  // left alone
      } else {
        ASSERT_EQ(value, static_cast<float>(bf16(static_cast<float>(master[static_cast<std::size_t>(i)]))));
      }
    }
  }
}

TEST(AdamW, RefusesRunsBeyondTheVector) {
  Bench t;
  Optimizer o = optimizer(t, {1, 2}, {0, 0}, 0.1, 1, false);
  const DecayRun beyond[] = {{1, 2, 0.0f}};
  EXPECT_THROW(o.step(t, beyond, 1), Error);
}

TEST(SquaredNorm, AddsInF64WhateverTheThreads) {
  constexpr std::int64_t kN = 100001;
  for (const DType dtype : kActs) {
    const Values x = normal(kN, 1, dtype);
    std::vector<std::uint32_t> first;
    for (const int threads : {1, 2, 3}) {
      Bench t(threads);
      const Tensor out = t.tensor(DType::f32, {1}, {10});
      t.ops->squared_norm(t.tensor(dtype, {kN}, x), out, *t.stream);
      EXPECT_NEAR(values_of(out)[0] / (dot(x, x) + 10), 1, 1e-7);
      if (first.empty()) first = bits_of(out);
      EXPECT_EQ(bits_of(out), first);
    }
  }
}

TEST(ClipFactor, ShortensOnlyWhatIsTooLong) {
  Bench t;
  const Tensor squares = t.tensor(DType::f32, {1}, {25}), norm = t.poison(DType::f32, {1});
  const Tensor factor = t.poison(DType::f32, {1});
  t.ops->clip_factor(squares, 1, norm, factor, *t.stream);
  EXPECT_EQ(values_of(norm)[0], 5);
  EXPECT_NEAR(values_of(factor)[0], 0.2, 1e-6);
  t.ops->clip_factor(squares, 6, norm, factor, *t.stream);
  EXPECT_EQ(values_of(factor)[0], 1);
  t.ops->clip_factor(squares, 0, norm, factor, *t.stream);
  EXPECT_EQ(values_of(factor)[0], 1);
}

}  // namespace
}  // namespace sherd::ops_test
