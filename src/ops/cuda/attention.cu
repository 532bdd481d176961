// Causal attention of packed documents, forward and backward: the checks, and which kernel runs a call. The kernels:
// attention_flash*.cu, Dao, arXiv:2307.08691, attention_plain*.cu, and cuDNN's where it is pinned; decoding has its own
// file.
#include "attention.hpp"
#include "ops.hpp"
#include "sherd/device/cuda/stream.hpp"
#include "vector.cuh"

namespace sherd::cuda {
namespace {

struct AttentionKernel {
  void (*forward)(const AttentionCall&, Stream&);
  void (*backward)(const AttentionCall&, Stream&);
  DType dtype;
  std::int64_t max_dim, dim_multiple;
  bool packed_rows;  // every row begins at a multiple of 16 bytes
  int capability;    // the least compute capability
};

/// The best first: a call is run by the first row that takes it. cuDNN's kernels have no row: where --attention auto
/// lets them compete, a comparison on the machine itself decides (attention_tune.hpp).
constexpr AttentionKernel kKernels[] = {
    // tensor cores take bf16, in 16-byte packs of 8
    {flash_attention, flash_attention_grad, DType::bf16, kFlashMaxDim, kFlashDimMultiple, true, 80},
    // the rest; f32 has no tensor cores of its precision
    {plain_attention, plain_attention_grad, DType::bf16, kPlainMaxDim, 1, false, 0},
    {plain_attention, plain_attention_grad, DType::f32, kPlainMaxDim, 1, false, 0},
};

const AttentionKernel& kernel_for(const AttentionCall& call, Stream& s) {
  const std::int64_t dim = call.shape.heads.dim;
  const bool packed = packs(call.qkv) && packs(call.out) && packs(call.dout) && packs(call.dqkv);
  for (const AttentionKernel& kernel : kKernels) {
    if (kernel.dtype == call.qkv.dtype && dim <= kernel.max_dim && dim % kernel.dim_multiple == 0 &&
        (packed || !kernel.packed_rows) && facts(s).compute_capability >= kernel.capability)
      return kernel;
  }
  throw usage_error("attention with heads of {}: the CUDA backend takes heads up to {}; use --device cpu", dim,
                    kPlainMaxDim);
}

}  // namespace

void own_attention(const AttentionCall& call, Stream& s) {
  const AttentionKernel& kernel = kernel_for(call, s);
  call.dout ? kernel.backward(call, s) : kernel.forward(call, s);
}

void OpsImpl::attention(Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse, Stream& s) {
  const AttentionShape shape = attention_shape(qkv, doc_start, heads, out, lse);
  const AttentionCall call{shape, qkv, doc_start, out, lse, {}, {}, {}};
  if (CudnnAttention* pinned = pinned_attention_.find(call)) return pinned->forward(call, s);
  own_attention(call, s);
}

void OpsImpl::attention_grad(Tensor dout, Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse,
                             Tensor delta, Tensor dqkv, Stream& s) {
  const AttentionShape shape = attention_shape(qkv, doc_start, heads, out, lse);
  check_attention_grad(dout, qkv, out, lse, delta, dqkv);
  const AttentionCall call{shape, qkv, doc_start, out, lse, dout, delta, dqkv};
  if (CudnnAttention* pinned = pinned_attention_.find(call)) return pinned->backward(call, s);
  own_attention(call, s);
}

}  // namespace sherd::cuda
