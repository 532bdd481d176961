#include "sherd/model/projection.hpp"

#include "sherd/ops/product.hpp"

namespace sherd {
namespace {

bool in_f8(const LlamaContext& ctx, const Tensor& w) {
  return ctx.fp8 && fits_f8(ctx.N(), w.rows(), w.cols());
}

/// A matrix in eight bits, in the arena's memory.
struct Codes {
  Tensor as_is, transposed;  // (R, C), (C, R)
};
enum class Layout { as_is, transposed, both };

Codes quantize(const LlamaContext& ctx, Tensor x, DType format, Layout layout, Tensor scale, F8Scale how) {
  Codes q;
  if (layout != Layout::transposed) q.as_is = ctx.arena.take(format, {x.rows(), x.cols()});
  if (layout != Layout::as_is) q.transposed = ctx.arena.take(format, {x.cols(), x.rows()});
  ctx.ops.quantize(x, q.as_is, q.transposed, scale, how, ctx.stream);
  return q;
}

F8Scale how(const F8Scales& scales) {
  return scales.found ? F8Scale::given : F8Scale::find;
}

}  // namespace

void project(const LlamaContext& ctx, Tensor x, Tensor w, Tensor y, F8Scales& scales) {
  if (!in_f8(ctx, w)) return ctx.ops.linear(x, w, y, ctx.stream);
  const Arena::Scope scratch(ctx.arena);
  const Codes x8 = quantize(ctx, x, DType::f8e4m3, Layout::as_is, scales.x, how(scales));
  const Codes w8 = quantize(ctx, w, DType::f8e4m3, Layout::as_is, scales.w, how(scales));
  scales.found = true;
  ctx.ops.linear_f8(x8.as_is, scales.x, w8.as_is, scales.w, y, 0, ctx.stream);
}

// Both gradients read codes of dy, made in one pass. A product wants both operands with the summed index along the
// rows: dy^T and x^T over N, dy and w^T over O.
void project_backward(const LlamaContext& ctx, Tensor dy, Tensor x, Tensor w, Tensor dx, Tensor dw, float beta,
                      const F8Scales& scales) {
  if (!in_f8(ctx, w)) {
    ctx.ops.linear_grad_weight(dy, x, dw, beta, ctx.stream);
    return ctx.ops.linear_grad_input(dy, w, dx, 0, ctx.stream);
  }
  const Arena::Scope scratch(ctx.arena);
  const Tensor dy_scale = ctx.arena.take(DType::f32, {1});
  const Codes dy8 = quantize(ctx, dy, DType::f8e5m2, Layout::both, dy_scale, F8Scale::find);
  {
    const Arena::Scope inner(ctx.arena);
    const Codes x8 = quantize(ctx, x, DType::f8e4m3, Layout::transposed, scales.x, how(scales));
    ctx.ops.linear_f8(dy8.transposed, dy_scale, x8.transposed, scales.x, dw, beta, ctx.stream);
  }
  const Codes w8 = quantize(ctx, w, DType::f8e4m3, Layout::transposed, scales.w, how(scales));
  ctx.ops.linear_f8(dy8.as_is, dy_scale, w8.transposed, scales.w, dx, 0, ctx.stream);
}

std::vector<std::string> products_without_f8(const ModelConfig& c, std::int64_t tokens) {
  const std::int64_t C = c.hidden_size, F = c.intermediate_size, q_cols = c.heads * c.head_dim;
  const struct {
    const char* name;
    std::int64_t out, in;
  } products[] = {
      {"qkv", q_cols + 2 * c.kv_heads * c.head_dim, C}, {"o", C, q_cols}, {"gate_up", 2 * F, C}, {"down", C, F}};
  std::vector<std::string> without;
  for (const auto& p : products)
    if (!fits_f8(tokens, p.out, p.in)) without.push_back(fmt::format("{} ({}, {}, {})", p.name, tokens, p.out, p.in));
  return without;
}

}  // namespace sherd
