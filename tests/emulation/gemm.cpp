// Products in the place of cuBLASLt's: three loops, in f64.
#include <algorithm>
#include <vector>

#include "../../src/ops/cuda/gemm.hpp"

#include "../../src/ops/cuda/launch.cuh"
#include "../../src/ops/cuda/vector.cuh"

namespace sherd::cuda {
namespace {

struct Shape {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  float beta;
};

/// op(x) (rows, cols) as plain numbers.
template <class T>
std::vector<float> plain(Rows<const T> x, std::int64_t rows, std::int64_t cols, bool transpose) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(rows * cols));
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j) out.push_back(to_f32(transpose ? x[j][i] : x[i][j]));
  return out;
}

/// One thread; sums in f64.
template <class T, class Out>
void product_kernel(Rows<const T> a, Rows<const T> b, Rows<Out> out, Shape s) {
  const std::vector<float> left = plain(a, s.m, s.k, s.transpose_a), right = plain(b, s.k, s.n, s.transpose_b);
  std::vector<double> row(static_cast<std::size_t>(s.n));
  for (std::int64_t i = 0; i < s.m; ++i) {
    std::ranges::fill(row, 0.0);
    for (std::int64_t k = 0; k < s.k; ++k) {
      const double x = left[static_cast<std::size_t>(i * s.k + k)];
      const float* const from = right.data() + k * s.n;
      for (std::int64_t j = 0; j < s.n; ++j) row[static_cast<std::size_t>(j)] += x * from[j];
    }
    for (std::int64_t j = 0; j < s.n; ++j) {
      const float old = s.beta == 0 ? 0.0f : s.beta * to_f32(out[i][j]);
      out[i][j] = from_f32<Out>(static_cast<float>(row[static_cast<std::size_t>(j)]) + old);
    }
  }
}

}  // namespace

struct Gemm::Impl {};
Gemm::Gemm(Tensor) {}
Gemm::~Gemm() = default;

void Gemm::multiply(const Product& p, const char* op, Stream& s) {
  const Shape shape{p.out.rows(),  p.out.cols(),  p.transpose_a ? p.a.rows() : p.a.cols(),
                    p.transpose_a, p.transpose_b, p.beta};
  const Grid one{1, 1, 1, 1};
  const auto run = [&]<class T, class Out>(T, Out) {
    launch(s, op, &product_kernel<T, Out>, one, rows_of<const T>(p.a), rows_of<const T>(p.b), rows_of<Out>(p.out),
           shape);
  };
  if (p.a.dtype == DType::f32) return run(float{}, float{});
  p.out.dtype == DType::f32 ? run(bf16{}, float{}) : run(bf16{}, bf16{});
}

}  // namespace sherd::cuda
