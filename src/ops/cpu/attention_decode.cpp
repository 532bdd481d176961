// Attention of one new query per sequence against a cache: a running softmax over the keys, bound by reading the cache.
#include <cmath>
#include <limits>

#include "attention_tile.hpp"
#include "ops.hpp"
#include "parallel.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kChunk = 64;  // keys per step of the running softmax

template <class A>
float dot(const float* q, const A* k, std::int64_t d) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < d; ++j) sum += q[j] * to_f32(k[j]);
  return sum;
}

template <class A>
void add_scaled(float p, const A* v, float* o, std::int64_t d) {
#pragma omp simd
  for (std::int64_t j = 0; j < d; ++j) o[j] += p * to_f32(v[j]);
}

/// One head: q (D) scaled, keys and values (length, D), o (D) scratch.
template <class A>
void decode_head(const float* q, Rows<const A> keys, Rows<const A> values, std::int64_t length, float* o, A* out,
                 std::int64_t d) {
  float scores[kChunk];
  float m = -std::numeric_limits<float>::infinity(), l = 0;
  std::fill(o, o + d, 0.0f);
  for (std::int64_t first = 0; first < length; first += kChunk) {
    const std::int64_t count = std::min(kChunk, length - first);
    float top = m;
    for (std::int64_t j = 0; j < count; ++j) {
      scores[j] = dot(q, keys[first + j], d);
      top = std::max(top, scores[j]);
    }
    const float shrink = exp_f32(m - top);
    m = top;
    l *= shrink;
    for (std::int64_t j = 0; j < d; ++j) o[j] *= shrink;
    for (std::int64_t j = 0; j < count; ++j) {
      const float p = exp_f32(scores[j] - m);
      l += p;
      add_scaled(p, values[first + j], o, d);
    }
  }
  for (std::int64_t j = 0; j < d; ++j) out[j] = from_f32<A>(o[j] / l);
}

}  // namespace

void OpsImpl::attention_decode(Tensor q, Tensor k_cache, Tensor v_cache, std::int64_t length, Heads heads, Tensor out,
                               Stream& s) {
  check_attention_decode(q, k_cache, v_cache, length, heads, out);
  const std::int64_t b = q.rows(), d = heads.dim;
  SHERD_CHECK(2 * d * b * heads.query <= workspace_.numel(), "decoding of {} sequences at once", b);
  enqueue(s, "attention_decode", access({q, k_cache, v_cache}, {out, workspace_}), [=, workspace = workspace_] {
    const float scale = 1.0f / std::sqrt(static_cast<float>(d));
    with_float_type(q.dtype, [&](auto type) {
      using A = decltype(type);
      for_blocks(b * heads.query, 1, [&](std::int64_t task, std::int64_t) {
        const std::int64_t row = task / heads.query, head = task % heads.query;
        Rows<const A> keys = rows_of<const A>(k_cache), values = rows_of<const A>(v_cache);
        const std::int64_t column = head / (heads.query / heads.kv) * d;
        keys.data += row * k_cache.dim[1] * keys.stride + column;
        values.data += row * k_cache.dim[1] * values.stride + column;
        float* const scaled = workspace.ptr<float>() + 2 * d * task;
        const A* query = rows_of<const A>(q)[row] + head * d;
        for (std::int64_t j = 0; j < d; ++j) scaled[j] = to_f32(query[j]) * scale;
        decode_head<A>(scaled, keys, values, length, scaled + d, rows_of<A>(out)[row] + head * d, d);
      });
    });
  });
}

}  // namespace sherd::cpu
