#pragma once
// What timed searches share: a clock of the stream, medians, pieces of scratch memory.
#include <algorithm>
#include <array>
#include <utility>

#include "sherd/base/narrow.hpp"
#include "sherd/base/tensor.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {

class Stopwatch {
 public:
  Stopwatch() {
    CUDA_CHECK(cudaEventCreateWithFlags(&begin_, cudaEventDefault));
    CUDA_CHECK(cudaEventCreateWithFlags(&end_, cudaEventDefault));
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// Microseconds that the work of `enqueue` takes on the stream.
  template <class Enqueue>
  double measure(cudaStream_t stream, Enqueue&& enqueue) {
    CUDA_CHECK(cudaEventRecord(begin_, stream));
    enqueue();
    CUDA_CHECK(cudaEventRecord(end_, stream));
    CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return 1000.0 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// The median of several samples. Short work runs several times per sample, so that the clock's step is small.
template <class Enqueue>
double median_microseconds(Stopwatch& watch, cudaStream_t stream, Enqueue&& enqueue) {
  constexpr double kSampleMicroseconds = 1000;
  const auto sample = [&](int times) {
    return watch.measure(stream, [&] {
      for (int i = 0; i < times; ++i) enqueue();
    }) / times;
  };
  const double once = std::max(1.0, sample(1));
  const int times = std::clamp(static_cast<int>(kSampleMicroseconds / once), 1, 20);
  std::array<double, 5> samples{};
  for (double& x : samples) x = sample(times);
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

/// Pieces of one slab, each at a multiple of 256 bytes.
class Slab {
 public:
  explicit Slab(Tensor slab) : rest_(slab.data), left_(static_cast<std::int64_t>(slab.bytes())) {}
  /// (rows, stride), flat; or null, once it does not fit.
  Tensor take(DType dtype, std::int64_t rows, std::int64_t stride) {
    const std::int64_t n = checked_mul(rows, stride);
    const std::int64_t bytes = round_up(checked_mul(n, static_cast<std::int64_t>(size_of(dtype))), 256);
    if (bytes > left_) return {};
    std::byte* at = std::exchange(rest_, rest_ + bytes);
    left_ -= bytes;
    return Tensor::make(at, dtype, {n});
  }

 private:
  std::byte* rest_;
  std::int64_t left_;
};

}  // namespace sherd::cuda
