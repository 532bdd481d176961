// The two ends of the model: embedding, and final norm + output projection + loss.
#include <algorithm>

#include "sherd/model/llama.hpp"

namespace sherd {

Tensor make_rope_table(Ops& ops, Stream& stream, Arena& arena, const ModelConfig& c, std::int64_t length) {
  const Tensor table = arena.take(DType::f32, {length, c.head_dim / 2, 2});  // (P, D/2, 2)
  ops.rope_table({c.rope_theta, c.rope_llama3, c.rope_factor, c.rope_low_freq_factor, c.rope_high_freq_factor,
                  c.rope_original_max_position},
                 table, stream);
  return table;
}

Residual embed(const LlamaContext& ctx, Tensor tokens, Tensor table) {
  const std::int64_t N = ctx.N(), C = ctx.config.hidden_size;
  const Residual r{ctx.arena.take(ctx.act, {N, C}), ctx.arena.take(ctx.act, {N, C}), false};
  ctx.ops.embedding(tokens.view({N}), table, r.stream, ctx.stream);
  return r;
}

void embed_backward(const LlamaContext& ctx, Tensor tokens, Tensor g, Tensor dtable, float beta) {
  if (beta == 0) ctx.ops.fill(dtable, 0, ctx.stream);
  ctx.ops.embedding_grad(g, tokens.view({ctx.N()}), dtable, ctx.stream);
}

namespace {

/// The final norm's input, output and 1/rms, from the arena.
struct FinalNorm {
  Tensor x, h, rstd;  // (N, C), (N, C), (N) f32
};

FinalNorm final_norm(const LlamaContext& ctx, Tensor gain, const Residual& in) {
  const std::int64_t N = ctx.N(), C = ctx.config.hidden_size;
  SHERD_CHECK(in.pending, "a model without blocks");
  const FinalNorm n{ctx.arena.take(ctx.act, {N, C}), ctx.arena.take(ctx.act, {N, C}), ctx.arena.take(DType::f32, {N})};
  ctx.ops.rmsnorm_residual(in.stream, in.branch, gain, ctx.config.rms_norm_eps, n.x, n.h, n.rstd, ctx.stream);
  return n;
}

Ops::CrossEntropy cross_entropy(const LlamaContext& ctx, const HeadTensors& w, Tensor h, const HeadLoss& loss,
                                bool grads) {
  const std::int64_t rows = std::min(loss.chunk, ctx.N()), V = ctx.config.vocab_size;
  Ops::CrossEntropy args;
  args.x = h;
  args.w = w.output;
  args.targets = loss.targets.view({ctx.N()});
  args.logits = ctx.arena.take(DType::f32, {rows, V});
  if (grads) args.dlogits = ctx.act == DType::f32 ? args.logits : ctx.arena.take(ctx.act, {rows, V});
  args.loss = loss.loss;
  args.divisor = loss.divisor;
  return args;
}

}  // namespace

void head_forward_backward(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, const HeadLoss& loss,
                           Tensor g, const HeadTensors& grads, float beta) {
  const Arena::Scope scratch(ctx.arena);
  const FinalNorm n = final_norm(ctx, w.norm, in);
  Ops::CrossEntropy args = cross_entropy(ctx, w, n.h, loss, true);
  args.dx = ctx.arena.take(ctx.act, {ctx.N(), ctx.config.hidden_size});
  args.dw = grads.output;
  args.beta = beta;
  ctx.ops.linear_cross_entropy(args, ctx.stream);
  ctx.ops.fill(g, 0, ctx.stream);
  ctx.ops.rmsnorm_grad(args.dx, n.x, w.norm, n.rstd, g, grads.norm, beta, ctx.stream);
}

void head_forward(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, const HeadLoss& loss) {
  const Arena::Scope scratch(ctx.arena);
  const FinalNorm n = final_norm(ctx, w.norm, in);
  ctx.ops.linear_cross_entropy(cross_entropy(ctx, w, n.h, loss, false), ctx.stream);
}

void head_logits(const LlamaContext& ctx, const HeadTensors& w, const Residual& in, Tensor logits) {
  const Arena::Scope scratch(ctx.arena);
  const FinalNorm n = final_norm(ctx, w.norm, in);
  if (ctx.act == DType::f32) return ctx.ops.linear(n.h, w.output, logits, ctx.stream);
  const Tensor rounded = ctx.arena.take(ctx.act, {ctx.N(), ctx.config.vocab_size});
  ctx.ops.linear(n.h, w.output, rounded, ctx.stream);
  ctx.ops.cast(rounded, logits, ctx.stream);
}

}  // namespace sherd
