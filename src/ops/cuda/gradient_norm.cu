// The norm of the gradients and the clip factor. Bytes per element: one read; sums in f64, in an order that the size
// alone fixes. Floor for the 6.74 G gradients of CodeLlama-7B in f32 at 3.35 TB/s (H100): 8.0 ms, 9.5 ms at the goal of
// 85%. Measured share: unmeasured.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr std::int64_t kNormBlocks = 1024;  // fixed, so that bits do not depend on the device

/// parts (gridDim.x) f64 = sums of squares, each over a run of `each` elements of x (n), in packs of kN. Shared: 32
/// doubles.
template <class T, int kN>
__global__ void squares_kernel(const T* x, std::int64_t n, std::int64_t each, double* parts) {
  const std::int64_t begin = blockIdx.x * each, end = begin + each < n ? begin + each : n,
                     packed = begin + (end - begin) / kN * kN;
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x * kN; i < packed; i += static_cast<std::int64_t>(blockDim.x) * kN) {
    const Pack<T, kN> in = load<kN>(x + i);
    for (int j = 0; j < kN; ++j) {
      const double value = to_f32(in.at[j]);
      sum += value * value;
    }
  }
  if (const std::int64_t i = packed + threadIdx.x; i < end) {  // fewer than a pack are left
    const double value = to_f32(x[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// out (1) += the sum of parts (count). One block.
__global__ void add_parts_kernel(const double* parts, std::int64_t count, float* out) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out = static_cast<float>(*out + sum);
}

/// One thread: a square root, a quotient.
__global__ void clip_kernel(const float* squares, float max_norm, float* norm, float* factor) {
  const float length = sqrtf(*squares), wanted = max_norm / (length + 1e-6f);
  *norm = length;
  *factor = max_norm > 0 && wanted < 1.0f ? wanted : 1.0f;
}

float* floats(const Tensor& t) {
  return reinterpret_cast<float*>(t.data);
}

}  // namespace

void OpsImpl::squared_norm(Tensor x, Tensor out, Stream& s) {
  check_squared_norm(x, out);
  const std::int64_t n = x.numel(), each = std::max<std::int64_t>(4096, round_up(div_up(n, kNormBlocks), 64)),
                     count = div_up(n, each);
  const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
  auto* const parts = reinterpret_cast<double*>(scratch_.data);
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(s, "squared_norm", aligned ? &squares_kernel<T, kPackOf<T>> : &squares_kernel<T, 1>, Grid{count},
           reinterpret_cast<const T*>(x.data), n, each, parts);
  });
  launch(s, "squared_norm", &add_parts_kernel, Grid{1}, static_cast<const double*>(parts), count, floats(out));
}

void OpsImpl::clip_factor(Tensor squares, float max_norm, Tensor norm, Tensor factor, Stream& s) {
  check_clip_factor(squares, norm, factor);
  launch(s, "clip_factor", &clip_kernel, Grid{1, 1, 1, 1}, static_cast<const float*>(floats(squares)), max_norm,
         floats(norm), floats(factor));
}

}  // namespace sherd::cuda
