#include <algorithm>
#include <cmath>
#include <limits>

#include "harness.hpp"
#include "sherd/ops/rounding.hpp"

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

// --- moments in bf16

/// With these every sum of the tests below is exact in f32, however a backend contracts it.
constexpr AdamWHyper kExactHyper{.beta1 = 0.5f, .beta2 = 0.75f, .eps = 1e-8f};
constexpr std::uint64_t kSeed = 42;

/// A state whose moments are bf16, and steps of it.
struct Rounded {
  AdamWState state;
  AdamWHyper hyper;
  Rounded(Bench& t, const Values& p, const Values& g, const Values& m, const Values& v, const AdamWHyper& h)
      : hyper(h) {
    const auto n = static_cast<std::int64_t>(p.size());
    state = {t.tensor(DType::f32, {n}, p), t.tensor(DType::f32, {n}, g), t.tensor(DType::bf16, {n}, m),
             t.tensor(DType::bf16, {n}, v), t.poison(DType::bf16, {n})};
  }
  void step(Bench& t, std::span<const DecayRun> runs, std::uint64_t number) {
    const auto one = t.tensor(DType::f32, {1}, {1}), lr = t.tensor(DType::f32, {1}, {0.125});
    const auto key = rounding_key(kSeed, number);
    const auto word = [&](std::size_t i) { return static_cast<double>(static_cast<std::int32_t>(key[i])); };
    t.ops->adamw(state, runs, hyper, {lr, one, one, one, t.tensor(DType::i32, {2}, {word(0), word(1)})}, *t.stream);
  }
};

/// 32 bits: the lower 16 round m, the upper v.
std::uint32_t reference_word(std::uint64_t step, std::uint64_t name_hash, std::uint64_t element) {
  const std::uint64_t group = element / 4;
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  return philox({low(group), low(group >> 32), low(name_hash), low(name_hash >> 32)},
                rounding_key(kSeed, step))[element % 4];
}

/// `exact` to the next multiple of a bf16's step below, or above where `random` of 2^16 is not less than what is left.
double reference_rounding(double exact, std::uint32_t random) {
  EXPECT_EQ(exact, static_cast<double>(static_cast<float>(exact)));
  if (exact == 0) return 0;
  const double step = std::ldexp(1.0, std::ilogb(exact) - 7), below = std::floor(std::abs(exact) / step);
  const double left = std::abs(exact) / step - below;
  return std::copysign((below + (left * 65536 + random >= 65536 ? 1 : 0)) * step, exact);
}

/// Multiples of 1/64 of about unit size, so that squares and means of a few are exact.
Values coarse(std::int64_t count, std::uint64_t stream) {
  Values values = normal(count, stream);
  for (double& x : values) x = std::clamp(std::round(x * 64), -256.0, 256.0) / 64;
  return values;
}

/// Runs at every alignment of memory and parameter to groups of four, with a gap of padding.
std::vector<DecayRun> odd_runs(std::int64_t n) {
  constexpr std::uint64_t kFar = (std::uint64_t{1} << 33) + 4;
  return {{0, 1, 0.5f, 11, 5},
          {1, 1500, 0.0f, 12, 3},
          {1512, 1000, 0.5f, ~std::uint64_t{0}, kFar},
          {2513, n - 2513, 0.5f, 13, 2}};
}

TEST(AdamWInBf16, StoresExactlyTheBitsOfItsDefinition) {
  constexpr std::int64_t kN = 5000;
  Bench t;
  Values p = coarse(kN, 1), m(kN, 0.0), v(kN, 0.0);
  const Values g = coarse(kN, 2);
  Rounded o(t, p, g, m, v, kExactHyper);
  for (std::uint64_t number = 0; number < 4; ++number) {
    o.step(t, odd_runs(kN), number);
    for (const DecayRun& run : odd_runs(kN)) {
      for (std::int64_t i = 0; i < run.count; ++i) {
        const auto at = static_cast<std::size_t>(run.begin + i);
        const double mean = 0.5 * (m[at] + g[at]), square = 0.75 * v[at] + 0.25 * g[at] * g[at];
        const auto word = reference_word(number, run.name_hash, run.first + static_cast<std::uint64_t>(i));
        p[at] = (1 - 0.125 * run.decay) * p[at] - 0.125 * mean / (std::sqrt(square) + 1e-8);
        m[at] = reference_rounding(mean, word & 0xffff);
        v[at] = reference_rounding(square, word >> 16);
      }
    }
    ASSERT_EQ(values_of(o.state.m), m);
    ASSERT_EQ(values_of(o.state.v), v);
    EXPECT_LT(relative_error(values_of(o.state.master), p), 1e-6);
  }
  const Values copy = values_of(o.state.copy), master = values_of(o.state.master);
  for (const std::size_t at : {0u, 1u, 1500u, 1512u, 2511u, 2513u, 4999u})
    EXPECT_EQ(copy[at], static_cast<double>(static_cast<float>(bf16(static_cast<float>(master[at])))));
  for (const std::size_t at : {1501u, 1511u, 2512u}) EXPECT_TRUE(std::isnan(copy[at]));  // padding is left alone
}

TEST(AdamWInBf16, GivesTheSameBitsHoweverTheVectorIsCut) {
  constexpr std::int64_t kN = 9000;
  const Values p = normal(kN, 1), g = normal(kN, 2), m = normal(kN, 3, DType::bf16);
  Values v = normal(kN, 4, DType::bf16);
  for (double& x : v) x = std::abs(x);
  const auto bits = [&](std::int64_t begin, std::int64_t end, int threads) {
    Bench t(threads);
    const auto part = [&](const Values& x) { return Values(x.begin() + begin, x.begin() + end); };
    Rounded o(t, part(p), part(g), part(m), part(v), kHyper);
    const DecayRun run[] = {{0, end - begin, 0.1f, 99, 1000 + static_cast<std::uint64_t>(begin)}};
    for (std::uint64_t number = 0; number < 3; ++number) o.step(t, run, number);
    std::vector<std::uint32_t> all = bits_of(o.state.m);
    for (const Tensor& more : {o.state.v, o.state.copy})
      for (const std::uint32_t b : bits_of(more)) all.push_back(b);
    return all;
  };
  const std::vector<std::uint32_t> whole = bits(0, kN, 1);
  EXPECT_EQ(bits(0, kN, 3), whole);
  for (const std::int64_t cut : {1, 1024, 4099, 4101, 4102}) {
    const std::vector<std::uint32_t> left = bits(0, cut, 2), right = bits(cut, kN, 2);
    for (std::int64_t vector = 0; vector < 3; ++vector)
      for (std::int64_t i = 0; i < kN; ++i) {
        const std::int64_t at = i < cut ? vector * cut + i : vector * (kN - cut) + i - cut;
        ASSERT_EQ((i < cut ? left : right)[static_cast<std::size_t>(at)],
                  whole[static_cast<std::size_t>(vector * kN + i)])
            << "cut at " << cut << ", element " << i << " of vector " << vector;
      }
  }
}

double mean_of(const Tensor& t) {
  double sum = 0;
  for (const double x : values_of(t)) sum += x;
  return sum / static_cast<double>(t.numel());
}

/// From 1, where a bf16's step is 2^-7, both moments move by less than a quarter of it at a time.
TEST(AdamWInBf16, KeepsTheMeanWhereNearestWouldStandStill) {
  constexpr std::int64_t kN = 20000;
  constexpr int kSteps = 100;
  constexpr double kG = 1.6, kBeta = 0.999, kStep = 0x1p-7;
  ASSERT_EQ(bf16(static_cast<float>(kBeta + (1 - kBeta) * kG * kG)).bits, bf16(1.0f).bits);
  Bench t;
  const Values ones(kN, 1.0);
  Rounded o(t, ones, Values(kN, kG), ones, ones, {.beta1 = 0.999f, .beta2 = 0.999f, .eps = 1e-8f});
  const DecayRun run[] = {{0, kN, 0.0f, 7, 0}};
  for (int number = 0; number < kSteps; ++number) {
    o.step(t, run, static_cast<std::uint64_t>(number));
    if (number > 0) continue;
    // Up is 1 + 2^-7; that both go up is as likely as if neither knew of the other.
    const double up_m = (1 - kBeta) * (kG - 1) / kStep, up_v = (1 - kBeta) * (kG * kG - 1) / kStep;
    const Values m = values_of(o.state.m), v = values_of(o.state.v);
    double both = 0;
    for (std::size_t i = 0; i < m.size(); ++i) both += m[i] > 1 && v[i] > 1 ? 1 : 0;
    EXPECT_NEAR(mean_of(o.state.m), 1 + up_m * kStep, 5 * kStep * std::sqrt(up_m / kN));
    EXPECT_NEAR(mean_of(o.state.v), 1 + up_v * kStep, 5 * kStep * std::sqrt(up_v / kN));
    EXPECT_NEAR(both, up_m * up_v * kN, 5 * std::sqrt(up_m * up_v * kN));
  }
  // Each step adds a variance of at most (2^-7 / 2)^2 per element; five standard deviations of the mean of kN.
  const double bound = 5 * std::sqrt(kSteps) * kStep / 2 / std::sqrt(kN), left = std::pow(kBeta, kSteps);
  EXPECT_NEAR(mean_of(o.state.m), kG + (1 - kG) * left, bound);
  EXPECT_NEAR(mean_of(o.state.v), kG * kG + (1 - kG * kG) * left, bound);
  EXPECT_GT(mean_of(o.state.v), 1 + 100 * bound);
}

TEST(AdamWInBf16, KeepsWhatIsNotFinite) {
  Bench t;
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  Rounded o(t, {1, 1, 1, 1}, {inf, nan, 1e30, -2}, {0, 0, 0, -2}, {0, 0, 0, 4}, kExactHyper);
  const DecayRun run[] = {{0, 4, 0.0f, 7, 0}};
  o.step(t, run, 1);
  const Values m = values_of(o.state.m), v = values_of(o.state.v);
  EXPECT_EQ(m[0], inf);
  EXPECT_EQ(v[0], inf);
  EXPECT_TRUE(std::isnan(m[1]) && std::isnan(v[1]));
  EXPECT_EQ(v[2], inf);  // beyond f32
  EXPECT_EQ(m[3], -2);   // what bf16 has stays
  EXPECT_EQ(v[3], 4);
  static_assert(round_stochastically(0x7f7fffffu, 0xffffu) == 0x7f7fu);  // the largest f32: not to infinity
  static_assert(round_stochastically(0xff7effffu, 0xffffu) == 0xff7fu &&
                round_stochastically(0xff7effffu, 0) == 0xff7eu);
  static_assert(round_stochastically(0x7fffffffu, 0xffffu) == 0x7fffu &&
                round_stochastically(0xff800001u, 0) == 0xffc0u);
  static_assert(round_stochastically(0xff800000u, 0xffffu) == 0xff80u &&
                round_stochastically(0x80000000u, 0xffffu) == 0x8000u);
}

TEST(AdamWInBf16, NeedsItsKeyAndBothMoments) {
  Bench t;
  const DecayRun run[] = {{0, 2, 0.0f}};
  const Tensor one = t.tensor(DType::f32, {1}, {1});
  Rounded o(t, {1, 2}, {0, 0}, {0, 0}, {0, 0}, kHyper);
  EXPECT_THROW(t.ops->adamw(o.state, run, kHyper, {one, one, one, one}, *t.stream), Error);
  o.state.v = t.tensor(DType::f32, {2}, {0, 0});
  EXPECT_THROW(o.step(t, run, 1), Error);
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
