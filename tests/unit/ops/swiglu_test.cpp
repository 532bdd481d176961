#include <cmath>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

/// (N, F) from (N, 2 F).
Values reference(const Values& gate_up, std::int64_t n, std::int64_t f) {
  Values out;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < f; ++j) {
      const double g = gate_up[static_cast<std::size_t>(i * 2 * f + j)];
      out.push_back(g / (1 + std::exp(-g)) * gate_up[static_cast<std::size_t>(i * 2 * f + f + j)]);
    }
  return out;
}

TEST(SwiGlu, ByHand) {
  Bench t;
  const Tensor out = t.poison(DType::f32, {1, 2});
  t.ops->swiglu(t.tensor(DType::f32, {1, 4}, {0, 1, 5, 2}), out, *t.stream);
  EXPECT_EQ(values_of(out)[0], 0);
  EXPECT_NEAR(values_of(out)[1], 2 / (1 + std::exp(-1.0)), 1e-6);
}

TEST(SwiGlu, IsEquivalentToReferenceForLargeAndSmallGates) {
  for (const DType act : kActs)
    for (const auto& [n, f] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {7, 33}, {129, 80}, {2, 333}, {2, 2608}})
      for (const double size : {1.0, 30.0}) {
        Bench t;
        const Values x = normal(n * 2 * f, 1, act, size);
        const Tensor out = t.poison(act, {n, f});
        t.ops->swiglu(t.tensor(act, {n, 2 * f}, x), out, *t.stream);
        EXPECT_LT(relative_error(values_of(out), reference(x, n, f)), tolerance(act)) << n << " " << f;
      }
}

TEST(SwiGlu, ExtremeGatesSaturate) {
  Bench t;
  const Tensor out = t.poison(DType::f32, {1, 4});
  t.ops->swiglu(t.tensor(DType::f32, {1, 8}, {1e4, -1e4, -90, 200, 1, 1, 1, 1}), out, *t.stream);
  const Values y = values_of(out);
  EXPECT_EQ(y[0], 1e4);
  EXPECT_NEAR(y[1], 0, 1e-30);
  EXPECT_NEAR(y[2], 0, 1e-30);
  EXPECT_EQ(y[3], 200);
}

TEST(SwiGlu, GradientIsTheFiniteDifferenceAlsoInPlace) {
  constexpr std::int64_t kN = 3, kF = 21;
  for (const bool in_place : {false, true}) {
    Bench t;
    const Values x = normal(kN * 2 * kF, 1), dout = normal(kN * kF, 2);
    const Tensor gate_up = t.tensor(DType::f32, {kN, 2 * kF}, x);
    const Tensor to = in_place ? gate_up : t.poison(DType::f32, {kN, 2 * kF});
    t.ops->swiglu_grad(t.tensor(DType::f32, {kN, kF}, dout), gate_up, to, *t.stream);
    const Values expected =
        numeric_gradient([&](const Values& moved) { return dot(reference(moved, kN, kF), dout); }, x);
    EXPECT_LT(relative_error(values_of(to), expected), 1e-6) << in_place;
  }
}

TEST(SwiGlu, GradientInBf16IsTheOneInF32) {
  constexpr std::int64_t kN = 5;
  for (const std::int64_t f : {70, 2608}) {  // single elements; packs, in more than one block a row
    Bench t;
    const Values x = normal(kN * 2 * f, 1, DType::bf16), dout = normal(kN * f, 2, DType::bf16);
    const Tensor a = t.poison(DType::f32, {kN, 2 * f}), b = t.poison(DType::bf16, {kN, 2 * f});
    for (const Tensor& to : {a, b})
      t.ops->swiglu_grad(t.tensor(to.dtype, {kN, f}, dout), t.tensor(to.dtype, {kN, 2 * f}, x), to, *t.stream);
    EXPECT_LT(relative_error(values_of(b), values_of(a)), tolerance(DType::bf16));
  }
}

}  // namespace
}  // namespace sherd::ops_test
