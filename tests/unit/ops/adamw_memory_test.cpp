// AdamW where memory is short: masters split, gradients in bf16, moments in 8 bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "harness.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/ops/eight_bit.hpp"
#include "sherd/ops/rounding.hpp"
#include "sherd/ops/split_master.hpp"

namespace sherd::ops_test {
namespace {

constexpr AdamWHyper kHyper{.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
/// With these every sum of the tests below is exact in f32, however a backend contracts it.
constexpr AdamWHyper kExactHyper{.beta1 = 0.5f, .beta2 = 0.75f, .eps = 1e-8f};
constexpr std::uint64_t kSeed = 42;

// --- split masters

TEST(SplitMaster, LosesNothing) {
  const auto holds = [](std::uint32_t b) {
    const std::uint16_t high = master_high(b);
    return join_master(high, master_rest(b, high)) == b;
  };
  for (std::uint32_t top = 0; top < 0x10000u; ++top) {
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const std::uint32_t b = top << 16 | low;
      if ((b & 0x7fffffffu) > 0x7f800000u) {
        const std::uint16_t high = master_high(b);
        EXPECT_TRUE(std::isnan(std::bit_cast<float>(join_master(high, master_rest(b, high))))) << b;
        EXPECT_TRUE(std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(high) << 16))) << b;
      } else {
        ASSERT_TRUE(holds(b)) << b;
      }
    }
  }
}

TEST(SplitMaster, ComputesWithTheNearestBf16) {
  for (const float x : {1.0f, -1.0f, 0.3f, -7.25e-20f, 3e38f, 1.00390625f /* a tie, whose even neighbour is below */}) {
    const auto high = static_cast<std::uint32_t>(master_high(std::bit_cast<std::uint32_t>(x)));
    const float nearest = static_cast<float>(bf16(x)), found = std::bit_cast<float>(high << 16);
    EXPECT_EQ(std::abs(found - x), std::abs(nearest - x)) << x;
  }
  EXPECT_EQ(master_high(std::bit_cast<std::uint32_t>(1.00390625f)), 0x3f81u);
}

Tensor scalar(Bench& t, double x) {
  return t.tensor(DType::f32, {1}, {x});
}
Tensor key_of(Bench& t, std::uint64_t step) {
  const auto key = rounding_key(kSeed, step);
  const auto word = [&](std::size_t i) { return static_cast<double>(static_cast<std::int32_t>(key[i])); };
  return t.tensor(DType::i32, {2}, {word(0), word(1)});
}
void step(Bench& t, const AdamWState& state, std::span<const DecayRun> runs, std::uint64_t number,
          const AdamWHyper& hyper = kHyper) {
  const Tensor one = scalar(t, 1);
  t.ops->adamw(state, runs, hyper, {scalar(t, 0.125), one, one, one, key_of(t, number)}, *t.stream);
}

AdamWState state_of(Bench& t, const Values& p, const Values& g, DType moments, DType grad = DType::f32) {
  const auto n = static_cast<std::int64_t>(p.size());
  const Values zeros(p.size(), 0.0);
  AdamWState s{t.tensor(DType::f32, {n}, p), t.tensor(grad, {n}, g), t.tensor(moments, {n}, zeros),
               t.tensor(moments, {n}, zeros), t.poison(DType::bf16, {n})};
  const std::int64_t blocks = (n + kMomentBlock - 1) / kMomentBlock;
  if (moments == DType::u8) s.scales = t.tensor(DType::f32, {blocks, 2}, Values(static_cast<std::size_t>(2 * blocks)));
  return s;
}
/// The same with its masters split.
AdamWState split(Bench& t, AdamWState s) {
  const std::int64_t n = s.master.numel();
  s.copy = t.poison(DType::bf16, {n});
  s.rest = t.poison(DType::i16, {n});
  t.ops->split_master(s.master, s.copy, s.rest, *t.stream);
  s.master = {};
  return s;
}
std::vector<std::uint32_t> masters(const AdamWState& s) {
  if (s.master) return bits_of(s.master);
  std::vector<std::uint32_t> joined = bits_of(s.copy);
  const std::vector<std::uint32_t> rest = bits_of(s.rest);
  for (std::size_t i = 0; i < joined.size(); ++i)
    joined[i] = join_master(static_cast<std::uint16_t>(joined[i]), static_cast<std::int16_t>(rest[i]));
  return joined;
}

Values values(const std::vector<std::uint32_t>& bits) {
  Values out;
  for (const std::uint32_t b : bits) out.push_back(std::bit_cast<float>(b));
  return out;
}

/// Runs at several alignments, with a gap of padding.
std::vector<DecayRun> odd_runs(std::int64_t n) {
  return {{0, 1, 0.5f, 11, 5}, {1, 1500, 0.0f, 12, 3}, {1512, 1000, 0.5f, 13, 4}, {2513, n - 2513, 0.5f, 14, 2}};
}

TEST(SplitMaster, TakesTheStepsOfAWholeOne) {
  constexpr std::int64_t kN = 5000;
  for (const DType moments : {DType::f32, DType::bf16, DType::u8}) {
    Bench t;
    const Values p = normal(kN, 1), g = normal(kN, 2);
    const AdamWState whole = state_of(t, p, g, moments), parts = split(t, state_of(t, p, g, moments));
    EXPECT_EQ(masters(parts), masters(whole));
    for (std::uint64_t number = 0; number < 5; ++number) {
      step(t, whole, odd_runs(kN), number);
      step(t, parts, odd_runs(kN), number);
    }
    EXPECT_NE(masters(whole), bits_of(t.tensor(DType::f32, {kN}, p)));
    if (test::tests_cuda()) {  // two kernels: their compiler may fuse other products and sums
      const double bound = moments == DType::f32 ? 1e-6 : 1e-2;
      EXPECT_LT(relative_error(values(masters(parts)), values(masters(whole))), bound) << name_of(moments);
    } else {
      EXPECT_EQ(masters(parts), masters(whole)) << name_of(moments);
      EXPECT_EQ(bits_of(parts.m), bits_of(whole.m)) << name_of(moments);
    }
  }
}

TEST(AdamW, TakesGradientsInBf16) {
  constexpr std::int64_t kN = 5000;
  for (const DType moments : {DType::f32, DType::bf16, DType::u8}) {
    Bench t;
    const Values p = normal(kN, 1), g = normal(kN, 2, DType::bf16);
    const AdamWState exact = state_of(t, p, g, moments), rounded = state_of(t, p, g, moments, DType::bf16);
    for (std::uint64_t number = 0; number < 3; ++number) {
      step(t, exact, odd_runs(kN), number);
      step(t, rounded, odd_runs(kN), number);
    }
    // Another instance of the arithmetic: products and sums may be fused elsewhere, and stored codes fall elsewhere.
    const double bound = moments == DType::f32 ? 1e-6 : 1e-2;
    EXPECT_LT(relative_error(values_of(rounded.master), values_of(exact.master)), bound) << name_of(moments);
    EXPECT_GT(relative_error(values_of(exact.master), p), 10 * bound);
  }
}

TEST(AdamW, RefusesStatesThatDoNotFitTogether) {
  Bench t;
  const DecayRun run[] = {{0, 200, 0.0f}};
  const AdamWState good = state_of(t, Values(200, 1.0), Values(200, 0.0), DType::u8);
  AdamWState both = good, neither = good, no_scales = good, no_copy = split(t, good);
  both.rest = t.poison(DType::i16, {200});
  neither.master = {};
  no_scales.scales = {};
  no_copy.copy = {};
  for (const AdamWState& bad : {both, neither, no_scales, no_copy}) EXPECT_THROW(step(t, bad, run, 0), Error);
  EXPECT_NO_THROW(step(t, good, run, 0));
  const std::vector<DecayRun> many(65, DecayRun{0, 0, 0.0f}), crossed = {{100, 100, 0.0f}, {0, 100, 0.0f}};
  EXPECT_THROW(step(t, good, many, 0), Error);
  EXPECT_THROW(step(t, good, crossed, 0), Error);
}

// --- moments in 8 bits

/// Multiples of 1/64 of about unit size, so that squares and means of a few are exact.
Values coarse(std::int64_t count, std::uint64_t stream) {
  Values values = normal(count, stream);
  for (double& x : values) x = std::clamp(std::round(x * 64), -256.0, 256.0) / 64;
  return values;
}

/// 32 bits: the lower 16 round m, the upper v.
std::uint32_t reference_word(std::uint64_t number, const DecayRun& run, std::int64_t i) {
  const std::uint64_t element = run.first + static_cast<std::uint64_t>(i - run.begin), group = element / 4;
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  return philox({low(group), low(group >> 32), low(run.name_hash), low(run.name_hash >> 32)},
                rounding_key(kSeed, number))[element % 4];
}

/// The definition, one element after the other: m and v as they are after a step, by block.
struct Reference {
  Values m, v;
  std::vector<std::uint32_t> code_m, code_v;
  Values scales;
  explicit Reference(std::int64_t n)
      : m(static_cast<std::size_t>(n), 0.0),
        v(m),
        code_m(m.size()),
        code_v(m.size()),
        scales(2 * ((m.size() + 127) / 128)) {}

  void step(const Values& g, std::span<const DecayRun> runs, std::uint64_t number) {
    std::vector<std::uint32_t> words(m.size());
    for (const DecayRun& run : runs)
      for (std::int64_t i = run.begin; i < run.begin + run.count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        m[at] = 0.5 * (m[at] + g[at]);
        v[at] = 0.75 * v[at] + 0.25 * g[at] * g[at];
        words[at] = reference_word(number, run, i);
      }
    for (std::size_t begin = 0; begin < m.size(); begin += 128) store(begin, std::min(begin + 128, m.size()), words);
  }
  void store(std::size_t begin, std::size_t end, const std::vector<std::uint32_t>& words) {
    float top_m = 0, top_v = 0;
    for (std::size_t i = begin; i < end; ++i) {
      top_m = std::max(top_m, static_cast<float>(std::abs(m[i])));
      top_v = std::max(top_v, static_cast<float>(v[i]));
    }
    scales[begin / 64] = top_m;
    scales[begin / 64 + 1] = top_v;
    const auto code = [](double x, float scale, std::uint32_t top, std::uint32_t random16) {
      return scale > 0 ? encode_moment(static_cast<float>(x) * (1.0f / scale), top, random16 << 4 | 8) : 0u;
    };
    for (std::size_t i = begin; i < end; ++i) {
      code_m[i] = code(std::abs(m[i]), top_m, 127, words[i] & 0xffff) | (m[i] < 0 ? 128u : 0u);
      code_v[i] = std::max(code(v[i], top_v, 255, words[i] >> 16), v[i] > 0 ? 1u : 0u);
      m[i] = (m[i] < 0 ? -1.0 : 1.0) * static_cast<double>(top_m) * decode_moment(code_m[i] & 127, 127);
      v[i] = static_cast<double>(top_v) * decode_moment(code_v[i], 255);
    }
  }
};

TEST(AdamWIn8Bits, StoresExactlyTheCodesOfItsDefinition) {
  constexpr std::int64_t kN = 5000;
  Bench t;
  const Values p = coarse(kN, 1), g = coarse(kN, 2);
  const AdamWState s = state_of(t, p, g, DType::u8);
  Reference expected(kN);
  for (std::uint64_t number = 0; number < 2; ++number) {
    step(t, s, odd_runs(kN), number, kExactHyper);
    expected.step(g, odd_runs(kN), number);
    ASSERT_EQ(bits_of(s.m), expected.code_m) << number;
    ASSERT_EQ(bits_of(s.v), expected.code_v) << number;
    ASSERT_EQ(values_of(s.scales), expected.scales) << number;
  }
  for (std::size_t i = 1501; i < 1512; ++i) EXPECT_EQ(bits_of(s.m)[i], 0u);  // padding
  EXPECT_EQ(values_of(s.master)[1505], p[1505]);
}

TEST(AdamWIn8Bits, GivesTheSameBitsHoweverTheVectorIsCut) {
  constexpr std::int64_t kN = 128 * 70;
  const Values p = normal(kN, 1), g = normal(kN, 2);
  const auto bits = [&](std::int64_t begin, std::int64_t end, int threads) {
    Bench t(threads);
    const auto part = [&](const Values& x) { return Values(x.begin() + begin, x.begin() + end); };
    const AdamWState s = state_of(t, part(p), part(g), DType::u8);
    const DecayRun run[] = {{0, end - begin, 0.1f, 99, 1000 + static_cast<std::uint64_t>(begin)}};
    for (std::uint64_t number = 0; number < 3; ++number) step(t, s, run, number);
    std::vector<std::uint32_t> all = bits_of(s.m);
    for (const Tensor& more : {s.v, s.copy})
      for (const std::uint32_t b : bits_of(more)) all.push_back(b);
    return all;
  };
  const std::vector<std::uint32_t> whole = bits(0, kN, 1);
  EXPECT_EQ(bits(0, kN, 3), whole);
  for (const std::int64_t cut : {128, 128 * 33, 128 * 69}) {
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

/// v is 1 in every block's first element, which keeps the scale, and falls from 1/2 in the others, by 0.1% a step,
/// while a code's step is 6% or more: rounded to nearest they would stand still.
TEST(AdamWIn8Bits, DecaysByLessThanACode) {
  constexpr std::int64_t kN = 128 * 128;
  constexpr int kSteps = 100;
  Bench t;
  const AdamWHyper hyper{.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
  Values g(kN, 0.0);
  for (std::size_t i = 0; i < g.size(); i += 128) g[i] = 1;
  AdamWState s = state_of(t, Values(kN, 1.0), g, DType::u8);
  Values codes(kN, static_cast<double>(kTopOfV) - 8), scales;
  for (std::size_t i = 0; i < codes.size(); i += 128) codes[i] = kTopOfV;
  for (std::int64_t b = 0; b < kN / kMomentBlock; ++b) scales.insert(scales.end(), {0.0, 1.0});
  s.v = t.tensor(DType::u8, {kN}, codes);
  s.scales = t.tensor(DType::f32, {kN / kMomentBlock, 2}, scales);
  const DecayRun run[] = {{0, kN, 0.0f, 7, 0}};
  for (std::uint64_t number = 0; number < kSteps; ++number) step(t, s, run, number, hyper);
  const std::vector<std::uint32_t> found = bits_of(s.v);
  double mean = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    if (i % 128 != 0) mean += decode_moment(found[i], kTopOfV) / (kN / 128 * 127.0);
  // Each step adds at most the probability of a move times its squared length to an element's variance.
  const double exact = 0.5 * std::pow(0.999, kSteps), deviation = std::sqrt(kSteps * 0.5 * 0.001 * 0.0625 / kN);
  EXPECT_NEAR(mean, exact, 5 * deviation);
  EXPECT_GT(0.5 - exact, 20 * deviation);
}

/// In a block whose gradients span 2^20 no element moves further than its rate: v is not 0 where m is not.
TEST(AdamWIn8Bits, NeverDividesByNothing) {
  constexpr std::int64_t kN = 128 * 64;
  constexpr double kRate = 0.125;
  Bench t;
  Values g(kN, 0.0), p(kN, 0.0);
  for (std::size_t i = 0; i < g.size(); ++i) g[i] = std::ldexp(1.0, -static_cast<int>(i % 128 % 21));
  const AdamWState s = state_of(t, p, g, DType::u8);
  const DecayRun run[] = {{0, kN, 0.0f, 7, 0}};
  double furthest = 0;
  for (std::uint64_t number = 0; number < 6; ++number) {
    const Values before = values_of(s.master);
    step(t, s, run, number);
    const Values after = values_of(s.master);
    for (std::size_t i = 0; i < after.size(); ++i) furthest = std::max(furthest, std::abs(after[i] - before[i]));
  }
  EXPECT_LT(furthest, 4 * kRate);
  static_assert(encode_second_moment(0x1p-60f, 0) == 1 && encode_second_moment(0.0f, 0xfffffu) == 0);
}

/// Squares of gradients may be subnormal: an update is still the rate, however small eps is.
TEST(AdamW, TakesTinyGradientsForWhatTheyAre) {
  constexpr std::int64_t kN = 300;
  const AdamWHyper hyper{.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-30f};
  for (const DType moments : {DType::f32, DType::bf16, DType::u8}) {
    Bench t;
    const AdamWState s = state_of(t, Values(kN, 1.0), Values(kN, 3e-19), moments);
    const DecayRun run[] = {{0, kN, 0.0f, 7, 0}};
    const Tensor corrections[] = {scalar(t, 0.1), scalar(t, 0.001)};
    t.ops->adamw(s, run, hyper, {scalar(t, 0.125), corrections[0], corrections[1], scalar(t, 1), key_of(t, 0)},
                 *t.stream);
    for (const double p : values_of(s.master)) ASSERT_NEAR(p, 1 - 0.125, 1e-3) << name_of(moments);
  }
}

/// Vectors that no pack fits take the way of single elements, to the same bits.
TEST(AdamWIn8Bits, IsTheSameWhereverVectorsBegin) {
  constexpr std::int64_t kN = 128 * 5;
  const Values p = normal(kN, 1), g = normal(kN, 2);
  const DecayRun run[] = {{0, kN, 0.1f, 99, 8}};
  std::vector<std::vector<std::uint32_t>> found;
  for (const std::int64_t shift : {0, 1}) {
    Bench t;
    const auto shifted = [&](const Tensor& x) {
      Values all(static_cast<std::size_t>(shift), 0.0);
      for (const double value : values_of(x)) all.push_back(value);
      return t.tensor(x.dtype, {kN + shift}, all).flat(shift, kN);
    };
    AdamWState s = split(t, state_of(t, p, g, DType::u8, DType::bf16));
    for (Tensor* x : {&s.grad, &s.m, &s.v, &s.copy, &s.rest}) *x = shifted(*x);
    for (std::uint64_t number = 0; number < 3; ++number) step(t, s, run, number);
    found.push_back(masters(s));
    for (const Tensor& x : {s.m, s.v, s.scales})
      for (const std::uint32_t b : bits_of(x)) found.back().push_back(b);
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST(AdamWIn8Bits, ShowsWhatIsNotFinite) {
  Bench t;
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {inf, nan}) {
    Values g(256, 1.0);
    g[130] = bad;
    const AdamWState s = state_of(t, Values(256, 1.0), g, DType::u8);
    const DecayRun run[] = {{0, 256, 0.0f, 7, 0}};
    step(t, s, run, 0);
    EXPECT_FALSE(std::isfinite(values_of(s.scales)[2]));
    EXPECT_TRUE(std::isfinite(values_of(s.scales)[0]));
    EXPECT_FALSE(std::isfinite(values_of(s.master)[130]));
  }
}

}  // namespace
}  // namespace sherd::ops_test
