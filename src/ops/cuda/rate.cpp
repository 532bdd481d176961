// The rates of products and of copies: what MFU and the speed of light are shares of.
#include <algorithm>
#include <array>

#include "gemm_rate.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/cuda/ops.hpp"
#include "timed_search.hpp"

namespace sherd::cuda {

double measure_gemm_rate(sherd::Device& device, DType dtype) {
  // Large enough for every device's best, or what fits beside other ranks' work.
  constexpr std::int64_t kSide = 8192, kSmallSide = 2048;
  const std::int64_t bytes = kSide * kSide * static_cast<std::int64_t>(size_of(dtype));
  return gemm_rate(device, dtype, memory_of(device).free > 16 * bytes ? kSide : kSmallSide);
}

double measure_copy_rate(sherd::Device& device) {
  // Longer than any cache; shorter where other ranks have the memory.
  constexpr std::int64_t kBytes = std::int64_t{256} << 20, kFewBytes = std::int64_t{64} << 20;
  const std::int64_t bytes = memory_of(device).free > 16 * kBytes ? kBytes : kFewBytes;
  Arena arena = device.arena("copies, measured", static_cast<std::size_t>(2 * bytes) + 4096);
  const auto stream = device.stream("rate", StreamKind::compute);
  const Tensor from = arena.take(DType::f32, {bytes / 4}), to = arena.take(DType::f32, {bytes / 4});
  Stopwatch watch;
  std::array<double, 5> seconds{};
  for (double& x : seconds) {
    x = 1e-6 * watch.measure(native(*stream), [&] {
      CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, to.bytes(), cudaMemcpyDeviceToDevice, native(*stream)));
    });
  }
  std::sort(seconds.begin(), seconds.end());
  return 2.0 * static_cast<double>(bytes) / seconds[seconds.size() / 2];
}

}  // namespace sherd::cuda
