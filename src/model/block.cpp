// One transformer block. Shapes are in llama.hpp; the products' order keeps the scratch small: h is made where it is
// used.
#include "sherd/model/llama.hpp"
#include "sherd/model/projection.hpp"

namespace sherd {
namespace {

/// One matrix over the adjacent rows of a fusion group's members.
Tensor fuse(std::span<const Tensor> parts) {
  Tensor whole = parts.front();
  for (const Tensor& part : parts.subspan(1)) {
    SHERD_CHECK(part.data == whole.data + whole.bytes() && part.dim[1] == whole.dim[1] && part.dtype == whole.dtype,
                "the members of a fusion group are not adjacent: {} then {}", whole.describe(), part.describe());
    whole.dim[0] += part.dim[0];
  }
  return whole;
}

/// The normalized stream for backward: what was kept, or computed again into `scratch`.
Tensor normalized(const LlamaContext& ctx, Tensor kept, Tensor x, Tensor gain, Tensor scratch) {
  if (kept) return kept;
  ctx.ops.rmsnorm(x, gain, ctx.config.rms_norm_eps, scratch, {}, ctx.stream);
  return scratch;
}

}  // namespace

BlockTensors BlockTensors::bind(std::span<const Tensor> p) {
  SHERD_CHECK(p.size() == 9, "a block of {} parameters", p.size());
  return {p[0], fuse(p.subspan(1, 3)), p[4], p[5], fuse(p.subspan(6, 2)), p[8]};
}

BlockScales take_scales(const LlamaContext& ctx) {
  if (!ctx.fp8) return {};
  constexpr std::int64_t kApart = 4;  // 16 bytes, what cuBLASLt asks of operands; of scales nothing is said
  const Tensor all = ctx.arena.take(DType::f32, {8, kApart});
  const auto scale = [&](std::int64_t i) { return all.flat(i * kApart, 1); };
  const auto pair = [&](std::int64_t first) { return F8Scales{scale(first), scale(first + 1)}; };
  return {pair(0), pair(2), pair(4), pair(6)};
}

BlockSaved take_saved(const LlamaContext& ctx, Keep keep, Tensor x, Tensor x_post, const BlockScales& scales) {
  const std::int64_t N = ctx.N(), C = ctx.config.hidden_size, F = ctx.config.intermediate_size;
  const auto take = [&](DType t, std::initializer_list<std::int64_t> shape) { return ctx.arena.take(t, shape); };
  BlockSaved s;
  s.x = x ? x : take(ctx.act, {N, C});
  s.rstd_in = take(DType::f32, {N});
  s.qkv = take(ctx.act, {ctx.B, ctx.T, ctx.heads().packed()});
  s.att = take(ctx.act, {ctx.B, ctx.T, ctx.config.heads * ctx.config.head_dim});
  s.lse = take(DType::f32, {ctx.B, ctx.config.heads, ctx.T});
  s.x_post = x_post ? x_post : take(ctx.act, {N, C});
  s.rstd_post = take(DType::f32, {N});
  s.gate_up = take(ctx.act, {N, 2 * F});
  if (keep == Keep::all) {
    s.h_in = take(ctx.act, {N, C});
    s.h_post = take(ctx.act, {N, C});
    s.swiglu = take(ctx.act, {N, F});
  }
  s.scales = scales.qkv.x ? scales : take_scales(ctx);
  return s;
}

void block_forward(const LlamaContext& ctx, const BlockTensors& w, Residual& io, BlockSaved& s, bool output) {
  const Arena::Scope scratch(ctx.arena);
  Ops& ops = ctx.ops;
  Stream& on = ctx.stream;
  const float eps = ctx.config.rms_norm_eps;
  const std::int64_t N = ctx.N(), C = ctx.config.hidden_size, F = ctx.config.intermediate_size;
  const Tensor h = s.h_in ? Tensor{} : ctx.arena.take(ctx.act, {N, C});                   // (N, C) both norms' output
  const Tensor gated = s.swiglu || !output ? s.swiglu : ctx.arena.take(ctx.act, {N, F});  // (N, F)
  const Tensor h_in = s.h_in ? s.h_in : h, h_post = s.h_post ? s.h_post : h;

  if (io.pending) {
    ops.rmsnorm_residual(io.stream, io.branch, w.norm_in, eps, s.x, h_in, s.rstd_in, on);
  } else {
    s.x = io.stream;
    ops.rmsnorm(s.x, w.norm_in, eps, h_in, s.rstd_in, on);
  }
  project(ctx, h_in, w.qkv, s.qkv.view({N, ctx.heads().packed()}), s.scales.qkv);
  ops.rope(s.qkv, ctx.doc_start, ctx.rope_table, ctx.heads(), false, on);
  ops.attention(s.qkv, ctx.doc_start, ctx.heads(), s.att, s.lse, on);
  project(ctx, s.att.view({N, s.att.cols()}), w.out, io.branch, s.scales.out);
  ops.rmsnorm_residual(s.x, io.branch, w.norm_post, eps, s.x_post, h_post, s.rstd_post, on);
  project(ctx, h_post, w.gate_up, s.gate_up, s.scales.gate_up);
  if (gated) ops.swiglu(s.gate_up, gated, on);
  if (output) project(ctx, gated, w.down, io.branch, s.scales.down);
  io.stream = s.x_post;
  io.pending = true;
}

void block_backward(const LlamaContext& ctx, const BlockTensors& w, const BlockSaved& s, Tensor g,
                    const BlockGrads& d) {
  const Arena::Scope scratch(ctx.arena);
  Ops& ops = ctx.ops;
  Stream& on = ctx.stream;
  const std::int64_t N = ctx.N(), C = ctx.config.hidden_size, F = ctx.config.intermediate_size;
  const std::int64_t q_cols = s.att.cols(), packed = ctx.heads().packed();
  const Tensor dh = ctx.arena.take(ctx.act, {N, C});                     // (N, C)
  const Tensor h = s.h_in ? Tensor{} : ctx.arena.take(ctx.act, {N, C});  // (N, C) recomputed
  {  // feed-forward: g = d(branch) as well as d(stream)
    const Arena::Scope inner(ctx.arena);
    const Tensor gated = s.swiglu ? s.swiglu : ctx.arena.take(ctx.act, {N, F});  // (N, F), then its gradient
    if (!s.swiglu) ops.swiglu(s.gate_up, gated, on);
    project_backward(ctx, g, gated, w.down, gated, d.to.down, d.beta, s.scales.down);
    ops.swiglu_grad(gated, s.gate_up, s.gate_up, on);
    const Tensor h_post = normalized(ctx, s.h_post, s.x_post, w.norm_post, h);
    project_backward(ctx, s.gate_up, h_post, w.gate_up, dh, d.to.gate_up, d.beta, s.scales.gate_up);
    ops.rmsnorm_grad(dh, s.x_post, w.norm_post, s.rstd_post, g, d.to.norm_post, d.beta, on);
  }
  const Tensor datt = ctx.arena.take(ctx.act, {ctx.B, ctx.T, q_cols});                // (B, T, H D)
  const Tensor dqkv = ctx.arena.take(ctx.act, {ctx.B, ctx.T, packed});                // (B, T, (H + 2 K) D)
  const Tensor delta = ctx.arena.take(DType::f32, {ctx.B, ctx.config.heads, ctx.T});  // (B, H, T)
  project_backward(ctx, g, s.att.view({N, q_cols}), w.out, datt.view({N, q_cols}), d.to.out, d.beta, s.scales.out);
  ops.attention_grad(datt, s.qkv, ctx.doc_start, ctx.heads(), s.att, s.lse, delta, dqkv, on);
  ops.rope(dqkv, ctx.doc_start, ctx.rope_table, ctx.heads(), true, on);
  const Tensor h_in = normalized(ctx, s.h_in, s.x, w.norm_in, h);
  project_backward(ctx, dqkv.view({N, packed}), h_in, w.qkv, dh, d.to.qkv, d.beta, s.scales.qkv);
  ops.rmsnorm_grad(dh, s.x, w.norm_in, s.rstd_in, g, d.to.norm_in, d.beta, on);
}

}  // namespace sherd
