// FlashAttention-2, Dao, arXiv:2307.08691, forward, on tensor cores: out = softmax(q k^T / sqrt(D)) v with a running
// softmax in base 2. Products take bf16 and sum in f32; the weights are rounded to bf16 for the product with the
// values, their sum is of the unrounded ones. Keys and values take turns: while the scores are computed the values
// arrive, and during the rest the next keys do.
#include "attention_flash.cuh"

namespace sherd::cuda {
namespace flash {
namespace {

/// Rows of a warp, in parts of 16: a right operand that was loaded serves them all, which halves what shared memory
/// has to deliver.
template <int kDim>
constexpr int kParts = 2;
template <int kDim>
constexpr int kRows = kParts<kDim>* kRowsOfWarp;  // of a warp
template <int kDim>
constexpr int kQueries = 4 * kRows<kDim>;  // of a block

/// One part of a warp's rows: its queries' output so far, largest scores (unscaled), and a lane's part of the sums.
template <int kDim>
struct Part {
  Accumulator<kDim> o;
  float top[2], sum[2];
};

template <int kDim>
__device__ inline void start(Part<kDim> (&parts)[kParts<kDim>]) {
#pragma unroll
  for (Part<kDim>& part : parts) {
    clear<kDim>(part.o);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      part.top[r] = -INFINITY;
      part.sum[r] = 0;
    }
  }
}

/// scores (16 x kTile) = q k^T, for each part.
template <int kDim>
__device__ inline void score_keys(Accumulator<kTile> (&scores)[kParts<kDim>], const bf16* queries, const bf16* keys) {
#pragma unroll
  for (auto& part : scores) clear<kTile>(part);
#pragma unroll 2
  for (int d = 0; d < kDim; d += 16) {
    std::uint32_t a[kParts<kDim>][4];
#pragma unroll
    for (int m = 0; m < kParts<kDim>; ++m) load_left<kDim>(a[m], queries, m * kRowsOfWarp, d);
#pragma unroll
    for (int u = 0; u < kTile; u += 16) {
      std::uint32_t b[4];
      load_right_transposed<kDim>(b, keys, u, d);
#pragma unroll
      for (int m = 0; m < kParts<kDim>; ++m) multiply_add(scores[m][u / 8], scores[m][u / 8 + 1], a[m], b);
    }
  }
}

/// -infinity where query `first` + row does not see key `key` + column.
__device__ inline void hide(Accumulator<kTile>& scores, const std::int32_t* starts, int first, int key, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int query = first + group_of_lane() + 8 * r, start = query < t ? starts[query] : 0;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int u = key + n * 8 + pair_of_lane() + i;
        if (u < start || u > query) scores[n][2 * r + i] = -INFINITY;
      }
  }
}

/// Scores become weights 2^(factor (score - largest)); o and the sums follow a new largest score.
template <int kDim>
__device__ inline void soften(Accumulator<kTile>& scores, Part<kDim>& part, float factor) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = part.top[r];
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));  // the 4 lanes of a row
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
    const float base = top == -INFINITY ? 0.0f : top * factor;  // a row that has seen nothing yet keeps weights of zero
    const float shrink = exp2_approx(part.top[r] * factor - base);
    part.top[r] = top;
    float sum = part.sum[r] * shrink;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n][i] = exp2_approx(scores[n][i] * factor - base);
        sum += scores[n][i];
      }
    part.sum[r] = sum;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      part.o[n][2 * r] *= shrink;
      part.o[n][2 * r + 1] *= shrink;
    }
  }
}

/// o += weights v, for each part.
template <int kDim>
__device__ inline void add_values(Part<kDim> (&parts)[kParts<kDim>], const Accumulator<kTile> (&weights)[kParts<kDim>],
                                  const bf16* values) {
#pragma unroll
  for (int u = 0; u < kTile; u += 16) {
    std::uint32_t a[kParts<kDim>][4], b[4];
#pragma unroll
    for (int m = 0; m < kParts<kDim>; ++m) round_to_left(a[m], weights[m][u / 8], weights[m][u / 8 + 1]);
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      load_right<kDim>(b, values, u, d);
#pragma unroll
      for (int m = 0; m < kParts<kDim>; ++m) multiply_add(parts[m].o[d / 8], parts[m].o[d / 8 + 1], a[m], b);
    }
  }
}

template <int kDim>
__device__ inline void finish(const AttentionView<bf16>& x, const Share& at, int first, Part<kDim>& part) {
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = part.sum[r];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    inverse[r] = 1.0f / sum;
    const int t = first + group_of_lane() + 8 * r;
    if (t < x.t && pair_of_lane() == 0) x.lse[x.line(at.b, at.head) + t] = part.top[r] * x.scale + logf(sum);
  }
  store_rows<kDim>(part.o, inverse, x.head(x.out, at.b, at.head), first, x.t, x.dim);
}

/// Grid: one block per kQueries queries of each head; block 128; shared bytes: the queries, one tile of keys, one of
/// values. Sums in f32 in the order of the keys; deterministic.
template <int kDim>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionView<bf16> x, int tiles) {
  bf16 *const queries = dynamic_shared<bf16>(), *const keys = queries + kQueries<kDim> * kStride<kDim>,
              *const values = keys + kTileElements<kDim>;
  const Share at = share_of_block_last_first(x.query_heads, tiles);
  const Rows<const bf16> k = x.head(x.qkv, at.b, x.key_head(at.head / x.group()));
  const int first = at.tile * kQueries<kDim>, end = least(first + kQueries<kDim>, x.t);
  const int row = warp_of_thread() * kRows<kDim>, mine = first + row;  // this warp's first query
  const KeysSeen seen = keys_seen(x.starts(at.b), first, end);
  int key = seen.first / kTile * kTile;
  copy_rows<kQueries<kDim>, kDim>(queries, x.head(x.qkv, at.b, at.head), first, x.t, x.dim);
  copy_rows<kTile, kDim>(keys, k, key, x.t, x.dim);
  commit_copies();
  Part<kDim> parts[kParts<kDim>];
  start(parts);
  for (; key < end; key += kTile) {
    const bool sees = key < mine + kRows<kDim> && mine < x.t;  // the same in all lanes of a warp
    Accumulator<kTile> scores[kParts<kDim>];
    wait_copies<0>();
    __syncthreads();  // the keys have come, and the last values have been read
    copy_rows<kTile, kDim>(values, {k.data + x.kv_heads * x.dim, k.stride}, key, x.t, x.dim);
    commit_copies();
    if (sees) score_keys<kDim>(scores, queries + row * kStride<kDim>, keys);
    wait_copies<0>();
    __syncthreads();  // the values have come, and the keys have been read
    if (key + kTile < end) {
      copy_rows<kTile, kDim>(keys, k, key + kTile, x.t, x.dim);
      commit_copies();
    }
    if (!sees) continue;
    const bool whole = key >= seen.whole && key + kTile <= mine + 1;  // no query of the warp is barred from any key
#pragma unroll
    for (int m = 0; m < kParts<kDim>; ++m) {
      if (!whole) hide(scores[m], x.starts(at.b), mine + m * kRowsOfWarp, key, x.t);
      soften<kDim>(scores[m], parts[m], x.scale * kLog2E);
    }
    add_values<kDim>(parts, scores, values);
  }
#pragma unroll
  for (int m = 0; m < kParts<kDim>; ++m) finish<kDim>(x, at, mine + m * kRowsOfWarp, parts[m]);
}

}  // namespace
}  // namespace flash

void flash_attention(const AttentionCall& call, Stream& s) {
  flash::with_dim(call.shape.heads.dim, [&](auto dim) {
    constexpr int kQueries = flash::kQueries<dim()>;
    Grid grid;
    grid.x = share_blocks(call.shape, call.shape.heads.query, kQueries);
    grid.threads = flash::kThreads;
    grid.shared = (kQueries + 2 * flash::kTile) * flash::kStride<dim()> * static_cast<std::int64_t>(sizeof(bf16));
    launch(s, "attention", &flash::forward_kernel<dim()>, grid, view_of<bf16>(call),
           narrow<int>(div_up(call.shape.t, kQueries)));
  });
}

}  // namespace sherd::cuda
