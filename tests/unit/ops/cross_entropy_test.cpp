#include <cmath>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

struct Case {
  std::int64_t n, c, v, chunk;
  DType act;
};

Values targets_of(const Case& c) {
  Values out;
  for (std::int64_t i = 0; i < c.n; ++i) out.push_back(i % 4 == 1 ? -1.0 : static_cast<double>(i * 17 % c.v));
  return out;
}

constexpr double kDivisor = 8;

/// Sum over the valid tokens of (lse - logit[target]) / kDivisor.
double reference(const Case& c, const Values& x, const Values& w) {
  const Values targets = targets_of(c);
  double loss = 0;
  for (std::int64_t i = 0; i < c.n; ++i) {
    if (targets[static_cast<std::size_t>(i)] < 0) continue;
    Values logits;
    for (std::int64_t j = 0; j < c.v; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < c.c; ++k)
        sum += x[static_cast<std::size_t>(i * c.c + k)] * w[static_cast<std::size_t>(j * c.c + k)];
      logits.push_back(sum);
    }
    double sum = 0;
    for (const double l : logits) sum += std::exp(l);
    loss += std::log(sum) - logits[static_cast<std::size_t>(targets[static_cast<std::size_t>(i)])];
  }
  return loss / kDivisor;
}

/// The op over poisoned scratch and outputs; loss starts at `loss`.
Ops::CrossEntropy run(Bench& t, const Case& c, const Values& x, const Values& w, bool grad, float beta, double loss,
                      const Values& dw_before = {}) {
  Ops::CrossEntropy a;
  a.x = t.tensor(c.act, {c.n, c.c}, x);
  a.w = t.tensor(c.act, {c.v, c.c}, w);
  a.targets = t.tensor(DType::i32, {c.n}, targets_of(c));
  a.logits = t.poison(DType::f32, {c.chunk, c.v});
  a.loss = t.tensor(DType::f32, {1}, {loss});
  a.divisor = t.tensor(DType::f32, {1}, {kDivisor});
  if (grad) {
    a.dlogits = c.act == DType::f32 ? a.logits : t.poison(c.act, {c.chunk, c.v});
    a.dx = t.poison(c.act, {c.n, c.c});
    a.dw = beta == 0 ? t.poison(DType::f32, {c.v, c.c}) : t.tensor(DType::f32, {c.v, c.c}, dw_before);
    a.beta = beta;
  }
  t.ops->linear_cross_entropy(a, *t.stream);
  t.stream->synchronize();
  return a;
}

TEST(CrossEntropy, UniformLogitsCostTheLogarithmOfTheVocabulary) {
  Bench t;
  const Case c{1, 1, 10, 4, DType::f32};
  EXPECT_NEAR(values_of(run(t, c, {0}, Values(10, 1.0), false, 0, 2).loss)[0], 2 + std::log(10.0) / kDivisor, 1e-6);
}

TEST(CrossEntropy, LossIsEquivalentToReference) {
  for (const DType act : kActs)
    for (const Case& c : {Case{1, 7, 5, 1, act}, Case{7, 16, 33, 3, act}, Case{129, 40, 1500, 50, act}}) {
      Bench t;
      const Values x = normal(c.n * c.c, 1, act), w = normal(c.v * c.c, 2, act);
      EXPECT_NEAR(values_of(run(t, c, x, w, false, 0, 1).loss)[0] / (1 + reference(c, x, w)), 1, 1e-6);
      EXPECT_NEAR(values_of(run(t, c, x, w, true, 0, 1).loss)[0] / (1 + reference(c, x, w)), 1, 1e-6);
    }
}

TEST(CrossEntropy, GradientIsTheFiniteDifference) {
  for (const DType act : kActs)
    for (const Case& c : {Case{1, 3, 5, 1, act}, Case{7, 8, 33, 3, act}, Case{9, 5, 20, 9, act}})
      for (const float beta : {0.0f, 1.0f}) {
        Bench t;
        const Values x = normal(c.n * c.c, 1, act), w = normal(c.v * c.c, 2, act), before = normal(c.v * c.c, 3);
        const Ops::CrossEntropy a = run(t, c, x, w, true, beta, 0, before);
        Values dx = numeric_gradient([&](const Values& v) { return reference(c, v, w); }, x);
        Values dw = numeric_gradient([&](const Values& v) { return reference(c, x, v); }, w);
        for (std::size_t i = 0; i < dw.size(); ++i) dw[i] += beta * before[i];
        EXPECT_LT(relative_error(values_of(a.dx), dx), act == DType::f32 ? 1e-6 : 8e-3) << c.n;
        EXPECT_LT(relative_error(values_of(a.dw), dw), act == DType::f32 ? 1e-6 : 8e-3) << c.n;
      }
}

TEST(CrossEntropy, LargeLogitsDoNotOverflow) {
  Bench t;
  const Case c{3, 4, 50, 2, DType::f32};
  const Values x = normal(12, 1, DType::f32, 200), w = normal(200, 2, DType::f32, 5);
  const Ops::CrossEntropy a = run(t, c, x, w, true, 0, 0);
  EXPECT_TRUE(std::isfinite(values_of(a.loss)[0]));
  for (const double v : values_of(a.dx)) EXPECT_TRUE(std::isfinite(v));
}

TEST(CrossEntropy, NotANumberReachesTheLoss) {
  Bench t;
  const Case c{1, 2, 40, 1, DType::f32};
  EXPECT_TRUE(std::isnan(values_of(run(t, c, {NAN, 1}, normal(80, 2), true, 0, 0).loss)[0]));
}

TEST(CrossEntropy, ThreadsDoNotChangeBits) {
  for (const DType act : kActs) {
    std::vector<std::uint32_t> first[3];
    for (const int threads : {1, 2, 3}) {
      Bench t(threads);
      const Case c{40, 24, 900, 16, act};
      const Ops::CrossEntropy a = run(t, c, normal(40 * 24, 1, act), normal(900 * 24, 2, act), true, 0, 0);
      int at = 0;
      for (const Tensor& out : {a.loss, a.dx, a.dw}) {
        if (threads == 1) first[at] = bits_of(out);
        EXPECT_EQ(bits_of(out), first[at++]);
      }
    }
  }
}

TEST(CrossEntropy, RefusesTargetsOutsideTheVocabulary) {
  Bench t;
  Ops::CrossEntropy a;
  a.x = t.tensor(DType::f32, {2, 1}, {1, 1});
  a.w = t.tensor(DType::f32, {3, 1}, {1, 1, 1});
  a.targets = t.tensor(DType::i32, {2}, {0, 3});
  a.logits = t.poison(DType::f32, {2, 3});
  a.loss = a.divisor = t.tensor(DType::f32, {1}, {1});
  try {
    t.ops->linear_cross_entropy(a, *t.stream);
    t.stream->synchronize();
    FAIL() << "target 3 of 3 was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::bad_input);
    EXPECT_NE(std::string(e.what()).find("target 3 at position 1"), std::string::npos) << e.what();
  }
}

/// Width 1 and x = 1 make the weights the logits, and their gradient that of the logits; several rounds of a block.
TEST(CrossEntropy, GradientOfManyColumnsIsSoftmaxLessOneHot) {
  for (const DType act : kActs)
    for (const std::int64_t v : {4104, 1027}) {
      Bench t;
      const Case c{1, 1, v, 1, act};
      const Values w = normal(v, 2, act, 3.0);
      const Ops::CrossEntropy a = run(t, c, {1}, w, true, 0, 0);
      double sum = 0;
      for (const double each : w) sum += std::exp(each);
      Values expected;
      for (const double each : w) expected.push_back(std::exp(each) / sum / kDivisor);
      expected[static_cast<std::size_t>(targets_of(c)[0])] -= 1 / kDivisor;
      EXPECT_LT(relative_error(values_of(a.dw), expected), tolerance(act)) << v;
    }
}

}  // namespace
}  // namespace sherd::ops_test
