#pragma once
// Tiles of the plain attention kernels: f32 in shared memory, whatever the tensors hold. 128 threads, 16 by 8 over a
// tile of scores: thread (y, x) has rows kRows y + i and columns x + 8 j of the scores, and of a product with a tile
// the same rows and the columns 32 c + 4 x + e. So a row of scores belongs to 8 lanes side by side and a warp owns its
// rows: what it writes of them to shared memory needs no barrier of the block.
#include "attention.cuh"

namespace sherd::cuda::plain {

constexpr int kThreads = 128;
constexpr int kLanesOfRow = 8;

/// Sizes for heads up to kDim. Four tiles fit into the 99 KB that every device since 8.0 has.
template <int kDim>
struct Tile {
  static constexpr int kCount = kDim <= 128 ? 32 : 16;           // queries or keys of a tile
  static constexpr int kRows = kCount / 16, kCols = kCount / 8;  // a thread's share of the scores
  static constexpr int kWidth = kDim / 8;                        // a thread's share of a row of D
  static constexpr int kStride = kDim + 4;                       // 8 rows at one column lie in different banks
  static constexpr int kWeightStride = kCount + 4;
  static constexpr int kFloats = kCount * kStride, kWeightFloats = kCount * kWeightStride;

  static constexpr std::int64_t shared_bytes(int tiles) {
    return (tiles * kFloats + kWeightFloats) * static_cast<std::int64_t>(sizeof(float));
  }
};

__device__ inline int thread_x() {
  return static_cast<int>(threadIdx.x) % kLanesOfRow;
}
template <int kDim>
__device__ inline int thread_row() {
  return static_cast<int>(threadIdx.x) / kLanesOfRow * Tile<kDim>::kRows;
}

/// tile (kCount, kDim) = rows from `first` on, zero beyond `rows` and beyond `dim`.
template <int kDim, class A>
__device__ void load_tile(float* tile, Rows<const A> from, int first, int rows, int dim) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile<kDim>::kCount * kDim; i += kThreads) {
    const int row = i / kDim, col = i % kDim;
    tile[row * Tile<kDim>::kStride + col] = first + row < rows && col < dim ? to_f32(from[first + row][col]) : 0.0f;
  }
}

/// Tiles of the keys and the values from `key` on.
template <int kDim, class A>
__device__ void load_keys(float* keys, float* values, const AttentionView<A>& x, int b, int kv, int key) {
  load_tile<kDim>(keys, x.head(x.qkv, b, x.key_head(kv)), key, x.t, x.dim);
  load_tile<kDim>(values, x.head(x.qkv, b, x.value_head(kv)), key, x.t, x.dim);
}

/// A block's tile of queries [first, end) of one head, where blocks own queries.
struct Queries {
  Share at;
  int kv, first, end;  // kv: the head's key/value head
  const std::int32_t* starts;
};
template <int kDim, class A>
__device__ Queries queries_of_block(const AttentionView<A>& x, int tiles) {
  constexpr int kCount = Tile<kDim>::kCount;
  const Share at = share_of_block_last_first(x.query_heads, tiles);
  const int first = at.tile * kCount;
  return {at, at.head / x.group(), first, least(first + kCount, x.t), x.starts(at.b)};
}

/// sum (i, j) = a (row i) . b (column j), over D in order.
template <int kDim>
__device__ void row_products(const float* a, const float* b, int dim,
                             float (&sum)[Tile<kDim>::kRows][Tile<kDim>::kCols]) {
  using S = Tile<kDim>;
  for (int i = 0; i < S::kRows; ++i)
    for (int j = 0; j < S::kCols; ++j) sum[i][j] = 0;
  const float *const rows = a + thread_row<kDim>() * S::kStride, *const cols = b + thread_x() * S::kStride;
#pragma unroll 2
  for (int d = 0; d < dim; d += 4) {
    Pack<float, 4> x[S::kRows];
    for (int i = 0; i < S::kRows; ++i) x[i] = load<4>(rows + i * S::kStride + d);
    for (int j = 0; j < S::kCols; ++j) {
      const Pack<float, 4> y = load<4>(cols + j * kLanesOfRow * S::kStride + d);
      for (int i = 0; i < S::kRows; ++i)
        for (int e = 0; e < 4; ++e) sum[i][j] += x[i].at[e] * y.at[e];
    }
  }
}

/// Puts a warp's rows of `values` where its lanes find them.
template <int kDim>
__device__ void share_weights(float* weights, const float (&values)[Tile<kDim>::kRows][Tile<kDim>::kCols]) {
  using S = Tile<kDim>;
  __syncwarp();  // the last weights have been read
  float* const to = weights + thread_row<kDim>() * S::kWeightStride + thread_x();
  for (int i = 0; i < S::kRows; ++i)
    for (int j = 0; j < S::kCols; ++j) to[i * S::kWeightStride + j * kLanesOfRow] = values[i][j];
  __syncwarp();
}

/// sum (i, column) += weights (row i, :) tile (:, column), over the tile's rows in order.
template <int kDim>
__device__ void add_weighted_rows(const float* weights, const float* tile, int dim,
                                  float (&sum)[Tile<kDim>::kRows][Tile<kDim>::kWidth]) {
  using S = Tile<kDim>;
  const float* const mine = weights + thread_row<kDim>() * S::kWeightStride;
  for (int u = 0; u < S::kCount; u += 4) {
    Pack<float, 4> w[S::kRows];
    for (int i = 0; i < S::kRows; ++i) w[i] = load<4>(mine + i * S::kWeightStride + u);
#pragma unroll
    for (int c = 0; c < S::kWidth / 4; ++c) {
      if (c * 32 >= dim) break;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const Pack<float, 4> v = load<4>(tile + (u + e) * S::kStride + c * 32 + thread_x() * 4);
        for (int i = 0; i < S::kRows; ++i)
          for (int f = 0; f < 4; ++f) sum[i][4 * c + f] += w[i].at[e] * v.at[f];
      }
    }
  }
}

/// Row `first` + row i of `to` = factor[i] sum (i, :), where there is such a row.
template <int kDim, class A>
__device__ void store_rows(const float (&sum)[Tile<kDim>::kRows][Tile<kDim>::kWidth],
                           const float (&factor)[Tile<kDim>::kRows], Rows<A> to, int first, int rows, int dim) {
  for (int i = 0; i < Tile<kDim>::kRows; ++i) {
    const int row = first + thread_row<kDim>() + i;
    if (row >= rows) return;
    for (int c = 0; c < Tile<kDim>::kWidth; ++c) {
      const int col = c / 4 * 32 + thread_x() * 4 + c % 4;
      if (col < dim) to[row][col] = from_f32<A>(factor[i] * sum[i][c]);
    }
  }
}

template <int kDim>
__device__ void clear(float (&sum)[Tile<kDim>::kRows][Tile<kDim>::kWidth]) {
  for (int i = 0; i < Tile<kDim>::kRows; ++i)
    for (int c = 0; c < Tile<kDim>::kWidth; ++c) sum[i][c] = 0;
}

/// fn(A{}, std::integral_constant<int, kDim>) for the call's dtype and the smallest size that takes its heads.
template <class Fn>
void with_sizes(const AttentionCall& call, Fn&& fn) {
  with_float_type(call.qkv.dtype, [&](auto type) {
    const std::int64_t dim = call.shape.heads.dim;
    if (dim <= 64) {
      fn(type, std::integral_constant<int, 64>{});
    } else if (dim <= 128) {
      fn(type, std::integral_constant<int, 128>{});
    } else {
      fn(type, std::integral_constant<int, 256>{});
    }
  });
}

/// Starts kernel(view, tiles of a head) on one block per tile of each of `heads` heads; `shared`: its tiles in shared
/// memory.
template <int kDim, class A>
void launch_tiles(Stream& s, const char* op, void (*kernel)(AttentionView<A>, int), const AttentionCall& call,
                  std::int64_t heads, int shared) {
  using S = Tile<kDim>;
  const Grid grid{share_blocks(call.shape, heads, S::kCount), 1, 1, kThreads, S::shared_bytes(shared)};
  launch(s, op, kernel, grid, view_of<A>(call), narrow<int>(div_up(call.shape.t, S::kCount)));
}

}  // namespace sherd::cuda::plain
