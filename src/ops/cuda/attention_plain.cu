// Causal attention in tiles with a running softmax, Dao, arXiv:2307.08691, forward, in f32 arithmetic: for f32, and for
// the head dims and rows that attention_flash.cu does not take.
#include "attention_plain.cuh"

namespace sherd::cuda {
namespace plain {
namespace {

/// The softmax of a thread's rows so far: the largest score, and this thread's part of the sum of e^(score - largest).
template <int kDim>
struct Softmax {
  float top[Tile<kDim>::kRows], sum[Tile<kDim>::kRows];
};

/// Products become scores: scaled, and -infinity where query `first` + row does not see key `key` + column.
template <int kDim, class A>
__device__ void scale_and_hide(const AttentionView<A>& x, const std::int32_t* starts, int first, int key,
                               float (&scores)[Tile<kDim>::kRows][Tile<kDim>::kCols]) {
  for (int i = 0; i < Tile<kDim>::kRows; ++i) {
    const int t = first + thread_row<kDim>() + i, start = t < x.t ? starts[t] : x.t;
    for (int j = 0; j < Tile<kDim>::kCols; ++j) {
      const int u = key + thread_x() + j * kLanesOfRow;
      scores[i][j] = start <= u && u <= t ? scores[i][j] * x.scale : -INFINITY;
    }
  }
}

/// Scores become weights e^(score - largest); o and the sums follow a new largest score.
template <int kDim>
__device__ void soften(float (&scores)[Tile<kDim>::kRows][Tile<kDim>::kCols], Softmax<kDim>& softmax,
                       float (&o)[Tile<kDim>::kRows][Tile<kDim>::kWidth]) {
  for (int i = 0; i < Tile<kDim>::kRows; ++i) {
    float top = softmax.top[i];
    for (int j = 0; j < Tile<kDim>::kCols; ++j) top = fmaxf(top, scores[i][j]);
    for (int offset = kLanesOfRow / 2; offset > 0; offset /= 2)
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, offset));
    const float base = top == -INFINITY ? 0.0f : top;  // a row that has seen nothing yet keeps weights of zero
    const float shrink = expf(softmax.top[i] - base);
    softmax.top[i] = top;
    softmax.sum[i] *= shrink;
    for (int c = 0; c < Tile<kDim>::kWidth; ++c) o[i][c] *= shrink;
    for (int j = 0; j < Tile<kDim>::kCols; ++j) {
      scores[i][j] = expf(scores[i][j] - base);
      softmax.sum[i] += scores[i][j];
    }
  }
}

template <int kDim, class A>
__device__ void finish(const AttentionView<A>& x, const Share& at, int first, const Softmax<kDim>& softmax,
                       const float (&o)[Tile<kDim>::kRows][Tile<kDim>::kWidth]) {
  float inverse[Tile<kDim>::kRows];
  for (int i = 0; i < Tile<kDim>::kRows; ++i) {
    float sum = softmax.sum[i];
    for (int offset = kLanesOfRow / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    inverse[i] = 1.0f / sum;
    const int t = first + thread_row<kDim>() + i;
    if (t < x.t && thread_x() == 0) x.lse[x.line(at.b, at.head) + t] = softmax.top[i] + logf(sum);
  }
  store_rows<kDim>(o, inverse, x.head(x.out, at.b, at.head), first, x.t, x.dim);
}

/// Grid: one block per tile of kCount queries of each head; block 128; shared bytes: 3 tiles and weights. Sums in f32
/// in the order of the keys; deterministic.
template <int kDim, class A>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionView<A> x, int tiles) {
  using S = Tile<kDim>;
  float *const queries = dynamic_shared<float>(), *const keys = queries + S::kFloats, *const values = keys + S::kFloats,
               *const weights = values + S::kFloats;
  const auto [at, kv, first, end, starts] = queries_of_block<kDim>(x, tiles);
  load_tile<kDim>(queries, x.head(x.qkv, at.b, at.head), first, x.t, x.dim);
  Softmax<kDim> softmax;
  float o[S::kRows][S::kWidth], scores[S::kRows][S::kCols];
  clear<kDim>(o);
  for (int i = 0; i < S::kRows; ++i) {
    softmax.top[i] = -INFINITY;
    softmax.sum[i] = 0;
  }
  for (int key = keys_seen(starts, first, end).first; key < end; key += S::kCount) {
    __syncthreads();  // the last keys and values have been read
    load_keys<kDim>(keys, values, x, at.b, kv, key);
    __syncthreads();
    row_products<kDim>(queries, keys, x.dim, scores);
    scale_and_hide<kDim>(x, starts, first, key, scores);
    soften<kDim>(scores, softmax, o);
    share_weights<kDim>(weights, scores);
    add_weighted_rows<kDim>(weights, values, x.dim, o);
  }
  finish<kDim>(x, at, first, softmax, o);
}

}  // namespace
}  // namespace plain

void plain_attention(const AttentionCall& call, Stream& s) {
  plain::with_sizes(call, [&](auto type, auto dim) {
    plain::launch_tiles<dim()>(s, "attention", &plain::forward_kernel<dim(), decltype(type)>, call,
                               call.shape.heads.query, 3);
  });
}

}  // namespace sherd::cuda
