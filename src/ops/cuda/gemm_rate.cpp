#include "gemm_rate.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "gemm.hpp"
#include "search_probe.hpp"
#include "sherd/ops/cuda/ops.hpp"
#include "timed_search.hpp"

namespace sherd::cuda {
namespace {

constexpr int kRuns = 5, kProductsPerRun = 4;

/// a b^T, in new memory. A device that multiplies zeros, or equal numbers, draws less power, and so runs faster than it
/// will.
Product square_product(Arena& arena, DType dtype, std::int64_t side, Stream& s) {
  const Tensor a = arena.take(dtype, {side, side}), b = arena.take(dtype, {side, side});
  fill_unevenly(a, s);
  fill_unevenly(b, s);
  if (!is_f8(dtype)) return linear_product(a, b, arena.take(dtype, {side, side}));
  const Tensor scale = arena.take(DType::f32, {1});
  static constexpr float kOne = 1;  // lives as long as the copy takes
  CUDA_CHECK(cudaMemcpyAsync(scale.data, &kOne, sizeof kOne, cudaMemcpyHostToDevice, native(s)));
  return linear_f8_product(a, scale, b, scale, arena.take(DType::bf16, {side, side}), 0);
}

}  // namespace

double gemm_rate(sherd::Device& device, DType dtype, std::int64_t side) {
  const std::size_t out = size_of(is_f8(dtype) ? DType::bf16 : dtype), elements = static_cast<std::size_t>(side * side);
  Arena arena = device.arena("products, measured", elements * (2 * size_of(dtype) + out) + kWorkspaceBytes / 2 + 4096);
  const auto stream = device.stream("rate", StreamKind::compute);
  Gemm gemm(arena.take(DType::f32, {kWorkspaceBytes / 8}));
  const Product product = square_product(arena, dtype, side, *stream);
  Stopwatch watch;
  std::array<double, kRuns> seconds{};
  for (double& x : seconds) {
    x = 1e-6 * watch.measure(native(*stream), [&] {
      for (int i = 0; i < kProductsPerRun; ++i) gemm.multiply(product, "gemm rate", *stream);
    });
  }
  std::sort(seconds.begin(), seconds.end());
  return 2.0 * std::pow(static_cast<double>(side), 3) * kProductsPerRun / seconds[kRuns / 2];
}

}  // namespace sherd::cuda
