#include "search_probe.hpp"

#include "launch.cuh"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"
#include "vector.cuh"

namespace sherd::cuda {
namespace {

/// Grid: blocks of 256 threads, an element each. Deterministic.
template <class T>
__global__ void fill_kernel(T* to, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  std::uint64_t x = static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  const float value = static_cast<float>(static_cast<std::int32_t>(x >> 32)) / 2147483648.0f;
  if constexpr (sizeof(T) == 1) {
    to[i] = round_to_f8<T>(value);
  } else {
    to[i] = from_f32<T>(value);
  }
}

/// Grid: blocks of 256 threads, a 16-bit word each. All that write, write 1: deterministic.
__global__ void compare_kernel(const std::uint16_t* x, const std::uint16_t* y, std::int64_t n, std::int32_t* flag) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n && x[i] != y[i]) *flag = 1;
}

/// Grid: a block of 128 threads per row; each thread adds its elements in f64, in their order: deterministic.
template <class T>
__global__ void squares_kernel(Rows<T> x, Rows<T> y, std::int64_t cols, float* sums) {
  const std::int64_t row = blockIdx.x;
  double difference = 0, size = 0;
  for (std::int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
    const double a = to_f32(x[row][i]), b = to_f32(y[row][i]);
    difference += (a - b) * (a - b);
    size += b * b;
  }
  difference = block_sum(difference);
  size = block_sum(size);
  if (threadIdx.x == 0) sums[row] = static_cast<float>(difference);
  if (threadIdx.x == 0) sums[gridDim.x + row] = static_cast<float>(size);
}

}  // namespace

void fill_unevenly(Tensor t, Stream& s) {
  const std::int64_t n = t.numel();
  const auto fill = [&]<class T>(T) {
    launch(s, "fill_unevenly", fill_kernel<T>, Grid{.x = div_up(n, 256)}, t.as<T>().data(), n);
  };
  is_f8(t.dtype) ? with_f8_type(t.dtype, fill) : with_float_type(t.dtype, fill);
}

void compare_bits(Tensor x, Tensor y, Tensor flag, Stream& s) {
  const auto n = static_cast<std::int64_t>(x.bytes() / sizeof(std::uint16_t));
  launch(s, "compare_bits", compare_kernel, Grid{.x = div_up(n, 256)}, reinterpret_cast<const std::uint16_t*>(x.data),
         reinterpret_cast<const std::uint16_t*>(y.data), n, flag.ptr<std::int32_t>());
}

void sum_squares(Tensor x, Tensor y, Tensor sums, Stream& s) {
  SHERD_CHECK(x.cols() == y.cols() && x.rows() == y.rows() && x.dtype == y.dtype && sums.numel() == 2 * x.rows(),
              "sum_squares of {} and {}", x.describe(), y.describe());
  const auto run = [&]<class T>(T) {
    launch(s, "sum_squares", squares_kernel<T>, Grid{.x = x.rows(), .threads = 128}, rows_of<T>(x), rows_of<T>(y),
           x.cols(), sums.as<float>().data());
  };
  x.dtype == DType::bf16 ? run(bf16{}) : run(float{});
}

}  // namespace sherd::cuda
