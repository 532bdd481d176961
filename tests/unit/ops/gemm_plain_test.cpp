// The plain product for all shapes, strides and addresses, and the two kernels of the search.
#include "../../../src/ops/cuda/gemm_plain.hpp"

#include <array>

#include "../../../src/ops/cuda/search_probe.hpp"
#include "harness.hpp"

namespace sherd::cuda {
namespace {

using namespace sherd::ops_test;

struct Case {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  DType in, out;
  float beta;
  std::int64_t gap;
};

void check(Bench& bench, const Case& c) {
  const auto dims = [](bool transposed, std::int64_t r, std::int64_t s) {
    return transposed ? std::array{s, r} : std::array{r, s};
  };
  const auto [a_rows, a_cols] = dims(c.transpose_a, c.m, c.k);
  const auto [b_rows, b_cols] = dims(c.transpose_b, c.k, c.n);
  const Values a = normal(c.m * c.k, 1, c.in), b = normal(c.k * c.n, 2, c.in), old = normal(c.m * c.n, 3, c.out);
  const Arena::Scope scope(bench.arena);
  const Product p{.a = bench.strided(c.in, {a_rows, a_cols}, a, c.gap),
                  .b = bench.strided(c.in, {b_rows, b_cols}, b, c.gap),
                  .out = c.beta == 0 ? bench.poison(c.out, {c.m, c.n}) : bench.strided(c.out, {c.m, c.n}, old, c.gap),
                  .transpose_a = c.transpose_a,
                  .transpose_b = c.transpose_b,
                  .beta = c.beta};
  multiply_plainly(p, key_of(p, "test"), "test", *bench.stream);
  Values expected;
  for (std::int64_t i = 0; i < c.m; ++i)
    for (std::int64_t j = 0; j < c.n; ++j) {
      double sum = c.beta == 0 ? 0 : static_cast<double>(c.beta) * old[static_cast<std::size_t>(i * c.n + j)];
      for (std::int64_t x = 0; x < c.k; ++x)
        sum += a[static_cast<std::size_t>(c.transpose_a ? x * c.m + i : i * c.k + x)] *
               b[static_cast<std::size_t>(c.transpose_b ? j * c.k + x : x * c.n + j)];
      expected.push_back(sum);
    }
  bench.stream->synchronize();
  EXPECT_LT(relative_error(values_of(p.out), expected), tolerance(c.out))
      << c.m << ' ' << c.n << ' ' << c.k << ' ' << c.transpose_a << c.transpose_b << ' ' << c.beta;
}

TEST(PlainProduct, MultipliesEveryShape) {
  Bench bench;
  for (const auto& [m, n, k] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {7, 129, 33}, {16, 16, 16}, {17, 31, 1}, {40, 3, 65}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const auto& [in, out] :
             {std::pair{DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}})
          for (const float beta : {0.0f, 1.0f, 0.5f}) check(bench, {m, n, k, ta, tb, in, out, beta, beta == 1 ? 3 : 0});
}

TEST(PlainProduct, MultipliesCodesInEightBitsByTheirScales) {
  constexpr std::int64_t kM = 48, kN = 32, kK = 80;
  for (const DType format : {DType::f8e4m3, DType::f8e5m2})
    for (const DType out : kActs) {
      Bench bench;
      const Values a = normal(kM * kK, 1, format), b = normal(kN * kK, 2, DType::f8e4m3), old = normal(kM * kN, 3, out);
      Product p{bench.tensor(format, {kM, kK}, a),
                bench.tensor(DType::f8e4m3, {kN, kK}, b),
                bench.tensor(out, {kM, kN}, old),
                false,
                true,
                0.5f};
      p.a_scale = bench.tensor(DType::f32, {1}, {4});
      p.b_scale = bench.tensor(DType::f32, {1}, {0.125});
      multiply_plainly(p, key_of(p, "test"), "test", *bench.stream);
      Values expected;
      for (std::int64_t i = 0; i < kM; ++i)
        for (std::int64_t j = 0; j < kN; ++j) {
          double sum = 0;
          for (std::int64_t x = 0; x < kK; ++x)
            sum += a[static_cast<std::size_t>(i * kK + x)] * b[static_cast<std::size_t>(j * kK + x)];
          expected.push_back(0.5 * sum + 0.5 * old[static_cast<std::size_t>(i * kN + j)]);
        }
      bench.stream->synchronize();
      EXPECT_LT(relative_error(values_of(p.out), expected), tolerance(out));
    }
}

TEST(PlainProduct, ASumOfNothingIsBetaOut) {
  Bench bench;
  check(bench, {5, 6, 0, false, false, DType::f32, DType::f32, 0.5f, 0});
}

TEST(SearchKernels, SeeWhereBitsDiffer) {
  Bench bench;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f8e4m3, DType::f8e5m2}) {
    const Tensor x = bench.poison(dtype, {1000}), y = bench.poison(dtype, {1000});
    fill_unevenly(x, *bench.stream);
    fill_unevenly(y, *bench.stream);
    const auto differ = [&](const Tensor& other) {
      const Tensor flag = bench.tensor(DType::i32, {1}, {0});
      compare_bits(x, other, flag, *bench.stream);
      bench.stream->synchronize();
      return values_of(flag)[0];
    };
    EXPECT_EQ(differ(y), 0);
    Values changed = values_of(x);
    for (const double v : changed) EXPECT_TRUE(v >= -1 && v <= 1) << v;
    changed.back() += 0.25;
    EXPECT_EQ(differ(bench.tensor(dtype, {1000}, changed)), 1);
  }
}

}  // namespace
}  // namespace sherd::cuda
