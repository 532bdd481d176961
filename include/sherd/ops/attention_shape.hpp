#pragma once
// Sizes of one call of attention and the checks of its arguments, shared by all backends.
#include <cmath>

#include "sherd/ops/check.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd {

struct AttentionShape {
  std::int64_t b = 0, t = 0;
  Heads heads;
  float scale = 0;  // 1 / sqrt(D)

  std::int64_t group() const { return heads.query / heads.kv; }
};

inline void check_heads(const Heads& heads) {
  SHERD_CHECK(heads.kv > 0 && heads.dim > 0 && heads.query % heads.kv == 0, "{} query heads, {} key heads of {}",
              heads.query, heads.kv, heads.dim);
}

/// Checks qkv (B, T, (H + 2 K) D), doc_start (B, T), out (B, T, H D), lse (B, H, T).
inline AttentionShape attention_shape(const Tensor& qkv, const Tensor& doc_start, Heads heads, const Tensor& out,
                                      const Tensor& lse) {
  check_heads(heads);
  SHERD_CHECK(doc_start.rank == 2, "doc_start is {}, expected (B, T)", doc_start.describe());
  const std::int64_t b = doc_start.dim[0], t = doc_start.dim[1];
  check_flat("doc_start", doc_start, b * t, DType::i32);
  check_act("qkv", qkv);
  check_matrix("qkv", qkv, b * t, heads.packed(), qkv.dtype);
  check_matrix("out", out, b * t, heads.query * heads.dim, qkv.dtype);
  check_flat("lse", lse, b * heads.query * t, DType::f32);
  return {b, t, heads, 1.0f / std::sqrt(static_cast<float>(heads.dim))};
}

/// Checks what the gradient has besides: dout as out, delta as lse, dqkv as qkv.
inline void check_attention_grad(const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                                 const Tensor& delta, const Tensor& dqkv) {
  check_matrix("dout", dout, out.rows(), out.cols(), qkv.dtype);
  check_matrix("dqkv", dqkv, qkv.rows(), qkv.cols(), qkv.dtype);
  check_flat("delta", delta, lse.numel(), DType::f32);
}

/// Checks q (B, H D), k_cache and v_cache (B, P, K D), 0 < length <= P, out (B, H D).
inline void check_attention_decode(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, std::int64_t length,
                                   Heads heads, const Tensor& out) {
  const std::int64_t b = q.rows(), width = heads.kv * heads.dim;
  check_heads(heads);
  check_act("q", q);
  check_matrix("q", q, b, heads.query * heads.dim, q.dtype);
  check_matrix("out", out, b, heads.query * heads.dim, q.dtype);
  SHERD_CHECK(k_cache.rank == 3 && k_cache.dim[0] == b && length > 0 && length <= k_cache.dim[1],
              "{} keys of a cache {}", length, k_cache.describe());
  check_matrix("k_cache", k_cache, b * k_cache.dim[1], width, q.dtype);
  check_matrix("v_cache", v_cache, b * k_cache.dim[1], width, q.dtype);
}

}  // namespace sherd
