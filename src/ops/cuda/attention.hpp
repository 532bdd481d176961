#pragma once
// The attention kernels as attention.cu sees them. Each takes a call whose arguments have been checked, and enqueues.
#include "sherd/ops/attention_shape.hpp"

namespace sherd::cuda {

/// One call of attention or of its gradient; names and shapes as in ops.hpp.
struct AttentionCall {
  AttentionShape shape;
  Tensor qkv, doc_start, out, lse;
  Tensor dout, delta, dqkv;  // null in the forward pass
};

/// attention_plain*.cu: f32 or bf16, any head dim up to kPlainMaxDim, arithmetic in f32. Correct everywhere; slow.
constexpr std::int64_t kPlainMaxDim = 256;
void plain_attention(const AttentionCall& call, Stream& s);
void plain_attention_grad(const AttentionCall& call, Stream& s);

/// attention_flash*.cu: bf16 on tensor cores, compute capability 8.0 and later, head dims that are multiples of
/// kFlashDimMultiple up to kFlashMaxDim, rows that begin at multiples of 16 bytes.
constexpr std::int64_t kFlashMaxDim = 128, kFlashDimMultiple = 8;
void flash_attention(const AttentionCall& call, Stream& s);
void flash_attention_grad(const AttentionCall& call, Stream& s);

/// attention.cu: whichever of these takes the call; its gradient, if dout is given.
void own_attention(const AttentionCall& call, Stream& s);

/// attention_delta.cu: delta = the row sums of dout out, which every gradient kernel needs.
void attention_delta(const AttentionCall& call, Stream& s);

}  // namespace sherd::cuda
