// Output projection and cross entropy over chunks of tokens. N tokens, R tokens of a chunk, C width, V vocabulary.
// loss += sum of (lse - logit[target]) / divisor; dlogits = (softmax - onehot) / divisor; dx = dlogits w; dw =
// dlogits^T x. Per logit, beside the products: 4 bytes read, and with a gradient 4 read again (from L2, if two rows per
// processor and what is written stay in it) and size written.
// Floor at N 8192, V 32016, bf16, 3.35 TB/s (H100): 2.62 GB, 783 us, of which 313 us may come from L2. Goal 85%: 921
// us. Measured share: unmeasured.
#include <cfloat>

#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "report.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 512;

/// A thread's largest logit so far, and the sum of e^(x - top) of those it has seen.
struct Running {
  float top = -FLT_MAX;  // finite, so that e^(top - top) is 1 and a first -infinity adds nothing
  float sum = 0;

  template <int kN>
  __device__ void add(const float (&x)[kN]) {
    float largest = top;
#pragma unroll
    for (int j = 0; j < kN; ++j) largest = fmaxf(largest, x[j]);
    sum *= expf(top - largest);
    top = largest;
#pragma unroll
    for (int j = 0; j < kN; ++j) sum += expf(x[j] - largest);
  }
};

/// dlogits of a row without a target.
template <class A, int kN>
__device__ void clear_row(A* row, std::int64_t v) {
  const float zeros[kN] = {};
#pragma unroll 1
  for (std::int64_t i = threadIdx.x * kN; i < v; i += kThreads * kN) store_f32<kN>(row + i, zeros);
}

/// One block per row of logits (R, V): its largest and the sum of e^(x - top) in one pass (Milakov & Gimelshein,
/// arXiv:1805.02867; f32 per thread, f64 over threads), its loss, undivided, and with kGrad its gradient in a second;
/// dlogits may be logits. Rows without a target have no loss and zeros. Shared: 32 doubles and floats. Deterministic.
template <class A, int kN, bool kGrad>
__global__ void __launch_bounds__(kThreads)
    loss_kernel(Rows<float> logits, const std::int32_t* targets, const float* divisor, Rows<A> dlogits, double* losses,
                std::int64_t v, std::int64_t first, Trouble* trouble) {
  const std::int64_t row = blockIdx.x, target = targets[row];
  float* const x = logits[row];
  if (target < 0 || target >= v) {
    if (threadIdx.x == 0) losses[row] = 0;
    if (threadIdx.x == 0 && target >= v) report(trouble, Trouble::target, target, first + row, v);
    if constexpr (kGrad) clear_row<A, kN>(dlogits[row], v);
    return;
  }
  const int count = static_cast<int>(v), begin = static_cast<int>(threadIdx.x) * kN;
  const float wanted = x[target];
  Running mine;
#pragma unroll 2
  for (int i = begin; i < count; i += kThreads * kN) {
    float values[kN];
    load_f32<kN>(values, x + i);
    mine.add<kN>(values);
  }
  const float top = block_max(mine.top);
  const double total = block_sum(static_cast<double>(mine.sum * expf(mine.top - top)));
  // the barriers of these also stand between reading x[target] and writing
  if (threadIdx.x == 0) losses[row] = log(total) + top - wanted;
  if constexpr (kGrad) {
    const float d = *divisor;
    const auto factor = static_cast<float>(1.0 / (total * d));
#pragma unroll 2
    for (int i = begin; i < count; i += kThreads * kN) {
      float values[kN];
      load_f32<kN>(values, x + i);
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const float e = expf(values[j] - top);
        values[j] = i + j == target ? (e / static_cast<float>(total) - 1.0f) / d : e * factor;
      }
      store_f32<kN>(dlogits[row] + i, values);
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
  constexpr int kN = kPackOf<A>;
  const bool fits = packs(a.logits) && (!kGrad || packs(a.dlogits)) && a.w.rows() % kN == 0;
  launch(s, "cross_entropy_loss", fits ? &loss_kernel<A, kN, kGrad> : &loss_kernel<A, 1, kGrad>,
         Grid{rows, 1, 1, kThreads}, rows_of<float>(a.logits),
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
