// The rates of products and of copies: what MFU and the speed of light are shares of.
#include <algorithm>
#include <array>
#include <cmath>

#include "gemm.hpp"
#include "search_probe.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/device/cuda/stream.hpp"
#include "sherd/ops/cuda/ops.hpp"

namespace sherd::cuda {
namespace {

/// Of square matrices: large enough for every device's best, or what fits beside other ranks' work.
constexpr std::int64_t kSide = 8192, kSmallSide = 2048;
constexpr int kRuns = 5, kProductsPerRun = 4;

/// An owned event with a time.
class Mark {
 public:
  Mark() { CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
  ~Mark() { static_cast<void>(cudaEventDestroy(event_)); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  void set(Stream& s) { CUDA_CHECK(cudaEventRecord(event_, native(s))); }
  double seconds_since(const Mark& earlier) const {
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
    return static_cast<double>(milliseconds) / 1e3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double median(std::array<double, kRuns> values) {
  std::sort(values.begin(), values.end());
  return values[kRuns / 2];
}

}  // namespace

double measure_gemm_rate(sherd::Device& device, DType dtype) {
  const auto bytes = [dtype](std::int64_t side) { return side * side * static_cast<std::int64_t>(size_of(dtype)); };
  const std::int64_t side = memory_of(device).free > 16 * bytes(kSide) ? kSide : kSmallSide;
  const auto matrix = static_cast<std::size_t>(bytes(side));
  Arena arena = device.arena("products, measured", 3 * matrix + kWorkspaceBytes / 2 + 4096);
  const auto stream = device.stream("rate", StreamKind::compute);
  const Tensor workspace = arena.take(DType::f32, {kWorkspaceBytes / 8});
  const Product product{arena.take(dtype, {side, side}),
                        arena.take(dtype, {side, side}),
                        arena.take(dtype, {side, side}),
                        false,
                        true,
                        0};
  // A device that multiplies zeros, or equal numbers, draws less power, and so runs faster than it will.
  fill_unevenly(product.a, *stream);
  fill_unevenly(product.b, *stream);
  Gemm gemm(workspace);
  std::array<double, kRuns> rates{};
  Mark begin, end;
  for (double& rate : rates) {
    begin.set(*stream);
    for (int i = 0; i < kProductsPerRun; ++i) gemm.multiply(product, "gemm rate", *stream);
    end.set(*stream);
    stream->synchronize();
    rate = 2.0 * std::pow(static_cast<double>(side), 3) * kProductsPerRun / end.seconds_since(begin);
  }
  return median(rates);
}

double measure_copy_rate(sherd::Device& device) {
  // Longer than any cache; shorter where other ranks have the memory.
  constexpr std::int64_t kBytes = std::int64_t{256} << 20, kFewBytes = std::int64_t{64} << 20;
  const std::int64_t bytes = memory_of(device).free > 16 * kBytes ? kBytes : kFewBytes;
  Arena arena = device.arena("copies, measured", static_cast<std::size_t>(2 * bytes) + 4096);
  const auto stream = device.stream("rate", StreamKind::compute);
  const Tensor from = arena.take(DType::f32, {bytes / 4}), to = arena.take(DType::f32, {bytes / 4});
  std::array<double, kRuns> rates{};
  Mark begin, end;
  for (double& rate : rates) {
    begin.set(*stream);
    CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, to.bytes(), cudaMemcpyDeviceToDevice, native(*stream)));
    end.set(*stream);
    stream->synchronize();
    rate = 2.0 * static_cast<double>(bytes) / end.seconds_since(begin);
  }
  return median(rates);
}

}  // namespace sherd::cuda
