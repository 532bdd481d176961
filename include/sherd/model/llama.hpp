#pragma once
// The Llama block and its two ends, forward and backward written out (law 6). Functions of tensors: they know neither
// ranks nor shards. Touvron et al., arXiv:2302.13971; names and layouts as in Hugging Face's LlamaForCausalLM.
//
// N = B T tokens, C hidden, H query heads, K key/value heads, D head dim, F feed-forward width, V vocabulary.
// "act" is the activation dtype, f32 or bf16; everything a gradient is accumulated in comes from the caller.
#include <span>
#include <vector>

#include "sherd/config/model_config.hpp"
#include "sherd/device/arena.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd {

/// What every block's arithmetic needs beside its weights.
struct LlamaContext {
  Ops& ops;
  Stream& stream;
  Arena& arena;  // activations and scratch
  const ModelConfig& config;
  DType act;
  Tensor rope_table;  // (P, D/2, 2) f32
  Tensor doc_start;   // (B, T) i32
  std::int64_t B, T;
  bool fp8 = false;  // products of the blocks in eight bits, where their shapes allow it (projection.hpp)
  Heads heads() const { return {config.heads, config.kv_heads, config.head_dim}; }
  std::int64_t N() const { return B * T; }
};

/// A block's parameters, or their gradients, as the products use them. The order of the table's rows is that of
/// llama_units: input norm, q, k, v, o, post norm, gate, up, down.
struct BlockTensors {
  Tensor norm_in;    // (C)
  Tensor qkv;        // ((H + 2 K) D, C): q, k and v are one fusion group
  Tensor out;        // (C, H D)
  Tensor norm_post;  // (C)
  Tensor gate_up;    // (2 F, C): one fusion group
  Tensor down;       // (C, F)
  static BlockTensors bind(std::span<const Tensor> params);
};

/// Gradients, and what the first product writing each does with what is there: beta 0 overwrites, 1 adds.
struct BlockGrads {
  BlockTensors to;
  float beta = 0;
};

/// Scales of the operands of a product in eight bits (projection.hpp), from the first time that they are needed in a
/// micro-batch to the last: what is computed again has the same bits, and so the same scale.
struct F8Scales {
  Tensor x, w;         // (1) f32; null without --fp8
  bool found = false;  // or still to be found
};
struct BlockScales {
  F8Scales qkv, out, gate_up, down;
};

/// What forward keeps for backward. Null members are computed again there.
struct BlockSaved {
  Tensor x;          // (N, C) residual stream entering the block
  Tensor rstd_in;    // (N) f32
  Tensor h_in;       // (N, C) normalized input; null with selective
  Tensor qkv;        // (N, (H + 2 K) D) after rotation
  Tensor att;        // (N, H D)
  Tensor lse;        // (B, H, T) f32
  Tensor x_post;     // (N, C) residual stream after attention
  Tensor rstd_post;  // (N) f32
  Tensor h_post;     // (N, C); null with selective
  Tensor gate_up;    // (N, 2 F)
  Tensor swiglu;     // (N, F); null with selective
  BlockScales scales;
};

enum class Keep { all, selective };

/// What travels between blocks: the residual stream, and the last branch, which the next norm adds in its own pass.
struct Residual {
  Tensor stream;         // (N, C) act
  Tensor branch;         // (N, C) act, one buffer for the whole forward
  bool pending = false;  // branch still has to be added
};

/// The rotation table for sequences of `length` tokens.
Tensor make_rope_table(Ops& ops, Stream& stream, Arena& arena, const ModelConfig& config, std::int64_t length);

/// stream = table[tokens (B, T)], into tensors taken from the arena.
Residual embed(const LlamaContext& ctx, Tensor tokens, Tensor table);
/// dtable (V, C) = or +=, by beta, the rows of g (N, C).
void embed_backward(const LlamaContext& ctx, Tensor tokens, Tensor g, Tensor dtable, float beta);

/// Memory for a block's scales, of which none is found yet. Null without --fp8.
BlockScales take_scales(const LlamaContext& ctx);
/// Takes what a block keeps from the arena. `x`: where the entering stream goes, or null to take it too; `x_post` and
/// `scales` likewise.
BlockSaved take_saved(const LlamaContext& ctx, Keep keep, Tensor x = {}, Tensor x_post = {},
                      const BlockScales& scales = {});
/// Forward of one block; `io` is the stream entering, then leaving. Without `output` it stops after the last tensor
/// that backward needs: the recomputation of a checkpointed block.
void block_forward(const LlamaContext& ctx, const BlockTensors& w, Residual& io, BlockSaved& saved, bool output = true);
/// g (N, C): dL/d(leaving stream) on entry, dL/d(entering stream) on return. Writes or adds the weight gradients; what
/// was saved is used up.
void block_backward(const LlamaContext& ctx, const BlockTensors& w, const BlockSaved& saved, Tensor g,
                    const BlockGrads& grads);

/// Final norm and output projection; or their gradients.
struct HeadTensors {
  Tensor norm;    // (C)
  Tensor output;  // (V, C)
};
struct HeadLoss {
  Tensor targets;            // (B, T) i32
  Tensor loss, divisor;      // (1) f32; loss += sum over valid tokens
  std::int64_t chunk = 256;  // rows of logits alive at once
};
/// Forward and backward at once, since the divisor is known before: g (N, C) = d(loss / divisor)/d(leaving stream).
void head_forward_backward(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, const HeadLoss& loss,
                           Tensor g, const HeadTensors& grads, float beta);
/// The loss only.
void head_forward(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, const HeadLoss& loss);
/// logits (N, V) f32, whole: for generation and tests.
void head_logits(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, Tensor logits);

}  // namespace sherd
