// Causal attention in tiles, Dao, arXiv:2307.08691, backward, in f32 arithmetic. P = e^(scores - lse), dV = P^T dO,
// dP = dO V^T, dS = P (dP - delta), dQ = dS K / sqrt(D), dK = dS^T Q / sqrt(D). Two passes, each of which makes P and
// dS anew: one block owns a tile of keys and sums dK and dV over all queries that see it, in order; one owns a tile of
// queries and sums dQ over its keys. So every sum has one owner and one order, without memory for parts of sums.
#include "attention_plain.cuh"

namespace sherd::cuda {
namespace plain {
namespace {

/// e^(score - lse) where query t sees key u, else 0; dp becomes dS = P (dP - delta).
template <class A>
__device__ inline void weigh(const AttentionView<A>& x, const std::int32_t* starts, std::int64_t line, int t, int u,
                             float& score, float& dp) {
  const bool seen = t < x.t && u <= t && starts[t] <= u;
  score = seen ? expf(score * x.scale - x.lse[line + t]) : 0.0f;
  dp = seen ? score * (dp - x.delta[line + t]) : 0.0f;
}

/// Tiles of the queries from `first` on and of their output's gradients.
template <int kDim, class A>
__device__ void load_queries(float* queries, float* douts, const AttentionView<A>& x, int b, int head, int first) {
  load_tile<kDim>(queries, x.head(x.qkv, b, head), first, x.t, x.dim);
  load_tile<kDim>(douts, x.head(x.dout, b, head), first, x.t, x.dim);
}

/// Grid: one block per tile of kCount keys of each key/value head; block 128; shared bytes: 4 tiles and weights. Sums
/// in f32, head after head of the group, in the order of the queries; deterministic. Threads' rows are keys.
template <int kDim, class A>
__global__ void __launch_bounds__(kThreads) key_grad_kernel(AttentionView<A> x, int tiles) {
  using S = Tile<kDim>;
  float *const keys = dynamic_shared<float>(), *const values = keys + S::kFloats, *const queries = values + S::kFloats,
               *const douts = queries + S::kFloats, *const weights = douts + S::kFloats;
  const Share at = share_of_block(x.kv_heads, tiles);
  const int key = at.tile * S::kCount;
  const std::int32_t* const starts = x.starts(at.b);
  load_keys<kDim>(keys, values, x, at.b, at.head, key);
  float dk[S::kRows][S::kWidth], dv[S::kRows][S::kWidth], p[S::kRows][S::kCols], ds[S::kRows][S::kCols];
  clear<kDim>(dk);
  clear<kDim>(dv);
  const int end = queries_seeing(starts, key, least(key + S::kCount, x.t), x.t).end;
  for (int h = at.head * x.group(); h < (at.head + 1) * x.group(); ++h) {
    for (int first = key; first < end; first += S::kCount) {
      __syncthreads();  // the last queries have been read
      load_queries<kDim>(queries, douts, x, at.b, h, first);
      __syncthreads();
      row_products<kDim>(keys, queries, x.dim, p);
      row_products<kDim>(values, douts, x.dim, ds);
      for (int i = 0; i < S::kRows; ++i)
        for (int j = 0; j < S::kCols; ++j)
          weigh(x, starts, x.line(at.b, h), first + thread_x() + j * kLanesOfRow, key + thread_row<kDim>() + i, p[i][j],
                ds[i][j]);
      share_weights<kDim>(weights, p);
      add_weighted_rows<kDim>(weights, douts, x.dim, dv);
      share_weights<kDim>(weights, ds);
      add_weighted_rows<kDim>(weights, queries, x.dim, dk);
    }
  }
  float scale[S::kRows], one[S::kRows];
  for (int i = 0; i < S::kRows; ++i) scale[i] = x.scale, one[i] = 1;
  store_rows<kDim>(dk, scale, x.head(x.dqkv, at.b, x.key_head(at.head)), key, x.t, x.dim);
  store_rows<kDim>(dv, one, x.head(x.dqkv, at.b, x.value_head(at.head)), key, x.t, x.dim);
}

/// Grid: one block per tile of kCount queries of each head; block 128; shared bytes: 4 tiles and weights. Sums in f32
/// in the order of the keys; deterministic. Threads' rows are queries.
template <int kDim, class A>
__global__ void __launch_bounds__(kThreads) query_grad_kernel(AttentionView<A> x, int tiles) {
  using S = Tile<kDim>;
  float *const queries = dynamic_shared<float>(), *const douts = queries + S::kFloats, *const keys = douts + S::kFloats,
               *const values = keys + S::kFloats, *const weights = values + S::kFloats;
  const auto [at, kv, first, end, starts] = queries_of_block<kDim>(x, tiles);
  load_queries<kDim>(queries, douts, x, at.b, at.head, first);
  float dq[S::kRows][S::kWidth], p[S::kRows][S::kCols], ds[S::kRows][S::kCols];
  clear<kDim>(dq);
  for (int key = keys_seen(starts, first, end).first; key < end; key += S::kCount) {
    __syncthreads();  // the last keys and values have been read
    load_keys<kDim>(keys, values, x, at.b, kv, key);
    __syncthreads();
    row_products<kDim>(queries, keys, x.dim, p);
    row_products<kDim>(douts, values, x.dim, ds);
    for (int i = 0; i < S::kRows; ++i)
      for (int j = 0; j < S::kCols; ++j)
        weigh(x, starts, x.line(at.b, at.head), first + thread_row<kDim>() + i, key + thread_x() + j * kLanesOfRow,
              p[i][j], ds[i][j]);
    share_weights<kDim>(weights, ds);
    add_weighted_rows<kDim>(weights, keys, x.dim, dq);
  }
  float scale[S::kRows];
  for (int i = 0; i < S::kRows; ++i) scale[i] = x.scale;
  store_rows<kDim>(dq, scale, x.head(x.dqkv, at.b, at.head), first, x.t, x.dim);
}

}  // namespace
}  // namespace plain

void plain_attention_grad(const AttentionCall& call, Stream& s) {
  attention_delta(call, s);
  plain::with_sizes(call, [&](auto type, auto dim) {
    using A = decltype(type);
    const Heads& heads = call.shape.heads;
    plain::launch_tiles<dim()>(s, "attention_grad", &plain::key_grad_kernel<dim(), A>, call, heads.kv, 4);
    plain::launch_tiles<dim()>(s, "attention_grad", &plain::query_grad_kernel<dim(), A>, call, heads.query, 4);
  });
}

}  // namespace sherd::cuda
