// Output projection and cross entropy over chunks of tokens. N tokens, R tokens of a chunk, C width, V vocabulary.
// loss += sum of (lse - logit[target]) / divisor; dlogits = (softmax - onehot) / divisor; dx = dlogits w; dw =
// dlogits^T x. Per logit: 8 bytes read (the second time from L2), 4 + size written with a gradient.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "report.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 512;

/// One block per row of logits (R, V): its largest, the sum of e^(x - top) (f32 per thread, f64 over threads), its
/// loss, undivided, and with kGrad its gradient; dlogits may be logits. Rows without a target have no loss and zeros.
/// Shared: 32 doubles and floats. Deterministic.
template <class A, bool kGrad>
__global__ void __launch_bounds__(kThreads)
    loss_kernel(Rows<float> logits, const std::int32_t* targets, const float* divisor, Rows<A> dlogits, double* losses,
                std::int64_t v, std::int64_t first, Trouble* trouble) {
  const std::int64_t row = blockIdx.x, target = targets[row];
  float* const x = logits[row];
  if (target < 0 || target >= v) {
    if (threadIdx.x == 0) losses[row] = 0;
    if (threadIdx.x == 0 && target >= v) report(trouble, Trouble::target, target, first + row, v);
    if constexpr (kGrad)
      for (std::int64_t i = threadIdx.x; i < v; i += kThreads) dlogits[row][i] = from_f32<A>(0.0f);
    return;
  }
  float top = -INFINITY, sum = 0;
  for (std::int64_t i = threadIdx.x; i < v; i += kThreads) top = fmaxf(top, x[i]);
  top = block_max(top);
  const float wanted = x[target];
  for (std::int64_t i = threadIdx.x; i < v; i += kThreads) sum += expf(x[i] - top);
  const double total =
      block_sum(static_cast<double>(sum));  // its barriers also stand between reading x[target] and writing
  if (threadIdx.x == 0) losses[row] = log(total) + top - wanted;
  if constexpr (kGrad) {
    const float d = *divisor;
    const auto factor = static_cast<float>(1.0 / (total * d));
    for (std::int64_t i = threadIdx.x; i < v; i += kThreads) {
      const float e = expf(x[i] - top);
      dlogits[row][i] = from_f32<A>(i == target ? (e / static_cast<float>(total) - 1.0f) / d : e * factor);
    }
  }
}

/// loss (1) += losses (n) / divisor (1). One block; f64.
__global__ void add_losses_kernel(const double* losses, std::int64_t n, const float* divisor, float* loss) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += losses[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(*loss + sum / *divisor);
}

/// The losses of `rows` tokens from `first` on, and with kGrad their dlogits, in the first rows of the scratch tensors.
template <class A, bool kGrad>
void losses_of(const Ops::CrossEntropy& a, std::int64_t first, std::int64_t rows, double* losses, Stream& s) {
  launch(s, "cross_entropy_loss", &loss_kernel<A, kGrad>, Grid{rows, 1, 1, kThreads}, rows_of<float>(a.logits),
         reinterpret_cast<const std::int32_t*>(a.targets.data) + first, reinterpret_cast<const float*>(a.divisor.data),
         kGrad ? rows_of<A>(a.dlogits) : Rows<A>{}, losses + first, a.w.rows(), first, trouble(s));
}

}  // namespace

void OpsImpl::linear_cross_entropy(const CrossEntropy& a, Stream& s) {
  check_cross_entropy(a);
  const bool grad = bool(a.dx);
  const std::int64_t n = a.targets.numel();
  SHERD_CHECK(2 * n <= scratch_.numel(), "cross entropy of {} tokens", n);
  auto* const losses = reinterpret_cast<double*>(scratch_.data);
  for (std::int64_t first = 0; first < n; first += a.logits.rows()) {
    const CrossEntropyChunk chunk = cross_entropy_chunk(a, first);
    gemm_.multiply(chunk.logits, "linear_cross_entropy", s);
    with_float_type(a.x.dtype, [&](auto type) {
      using A = decltype(type);
      grad ? losses_of<A, true>(a, first, chunk.rows, losses, s) : losses_of<A, false>(a, first, chunk.rows, losses, s);
    });
    if (!grad) continue;
    gemm_.multiply(chunk.dx, "linear_cross_entropy", s);
    gemm_.multiply(chunk.dw, "linear_cross_entropy", s);
  }
  launch(s, "cross_entropy_loss", &add_losses_kernel, Grid{1}, static_cast<const double*>(losses), n,
         reinterpret_cast<const float*>(a.divisor.data), reinterpret_cast<float*>(a.loss.data));
}

}  // namespace sherd::cuda
