#pragma once
// What the attention kernels share: tile sizes, products of tiles that lie in cache, and loads of tiles from the packed
// qkv matrix. All tiles are f32; a tile of R rows and D columns has row stride padded(D), its padding is zero.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "elementwise.hpp"
#include "rows.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/ops/attention_shape.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cpu {

#if defined(__AVX512F__)
inline constexpr std::int64_t kLanes = 16, kMicroRows = 12;  // 24 of 32 registers hold sums
#else
inline constexpr std::int64_t kLanes = 8, kMicroRows = 6;  // 12 of 16 registers hold sums
#endif
inline constexpr std::int64_t kMicroCols = 2 * kLanes;

inline constexpr std::int64_t kQueries = 96;  // of a tile: a multiple of kMicroRows
inline constexpr std::int64_t kKeys = 96;     // of a tile: a multiple of kMicroRows and of kMicroCols
inline constexpr std::int64_t kStrip = 24;    // rows of scores that are made and used while they are in L1
static_assert(kQueries == kKeys && kKeys % kStrip == 0 && kStrip % kMicroRows == 0 && kKeys % kMicroCols == 0 &&
              kKeys % kMicroRows == 0);

inline std::int64_t padded(std::int64_t d) {
  return round_up(d, kMicroCols);
}

/// c (m, n) = a (m, k) b (k, n), or += if `add`. n is a multiple of kMicroCols. With kTransposed a is stored (k, m).
/// Sums run over k in order.
template <bool kTransposed>
void tile_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_stride, const float* b,
                  std::int64_t b_stride, float* c, std::int64_t c_stride, bool add);

/// Asks for row `i` of a head: heads lie too far apart for the hardware to guess the next row.
template <class A>
void prefetch_row(Rows<const A> from, std::int64_t i, std::int64_t d) {
  const char* const row = reinterpret_cast<const char*>(from[i]);
  for (std::int64_t at = 0; at < d * std::int64_t(sizeof(A)); at += 64) __builtin_prefetch(row + at);
}
inline constexpr std::int64_t kPrefetch = 12;  // rows ahead

/// to (rows, D) = scale from.
template <class A>
void load_rows(Rows<const A> from, std::int64_t rows, std::int64_t d, float scale, float* to) {
  const std::int64_t stride = padded(d);
  for (std::int64_t i = 0; i < rows; ++i) {
    if (i + kPrefetch < rows) prefetch_row(from, i + kPrefetch, d);
    const A* row = from[i];
    float* out = to + i * stride;
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) out[j] = to_f32(row[j]) * scale;
    std::fill(out + d, out + stride, 0.0f);
  }
}

/// to (8, 8) with row stride kKeys = from (8, 8) transposed, in three rounds that each interleave rows r and r + 4.
template <class A>
void transpose_block(Rows<const A> from, std::int64_t column, float* to) {
  using Float8 [[gnu::vector_size(32)]] = float;
  Float8 v[8];
  for (std::int64_t i = 0; i < 8; ++i)
    for (std::int64_t j = 0; j < 8; ++j) v[i][j] = to_f32(from[i][column + j]);
#pragma GCC unroll 3
  for (int round = 0; round < 3; ++round) {
    Float8 next[8];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      next[2 * r] = __builtin_shufflevector(v[r], v[r + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * r + 1] = __builtin_shufflevector(v[r], v[r + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    std::copy(next, next + 8, v);
  }
  for (std::int64_t j = 0; j < 8; ++j) std::memcpy(to + j * kKeys, &v[j], sizeof(Float8));
}

/// to (D, kKeys) = from (rows, D) transposed; columns from `rows` on are zero.
template <class A>
void load_transposed(Rows<const A> from, std::int64_t rows, std::int64_t d, float* to) {
  if (rows < kKeys) std::fill(to, to + d * kKeys, 0.0f);
  const std::int64_t block_rows = rows / 8 * 8, block_columns = d / 8 * 8;
  for (std::int64_t i = 0; i < block_rows; i += 8) {
    for (std::int64_t ahead = i + 8; ahead < std::min(i + 16, rows); ++ahead) prefetch_row(from, ahead, d);
    for (std::int64_t j = 0; j < block_columns; j += 8)
      transpose_block(Rows<const A>{from[i], from.stride}, j, to + j * kKeys + i);
  }
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = i < block_rows ? block_columns : 0; j < d; ++j) to[j * kKeys + i] = to_f32(from[i][j]);
}

/// from (rows, D) in f32 to the activation dtype.
template <class A>
void store_rows(const float* from, std::int64_t rows, std::int64_t d, Rows<A> to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* row = from + i * padded(d);
    A* out = to[i];
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) out[j] = from_f32<A>(row[j]);
  }
}

/// The keys of tile [first, first + count) that query t sees, as indices into the tile: [begin, end), maybe empty.
struct Seen {
  std::int64_t begin, end;
};
inline Seen seen(std::int64_t t, std::int64_t doc_start, std::int64_t first, std::int64_t count) {
  const std::int64_t begin = std::clamp<std::int64_t>(doc_start - first, 0, count);
  return {begin, std::max(begin, std::min(t + 1 - first, count))};
}

/// Rows of head `h` of sequence `b` in a packed matrix (B T, heads D).
template <class A>
Rows<A> head_rows(const AttentionShape& shape, const Tensor& packed, std::int64_t b, std::int64_t h) {
  Rows<A> rows = rows_of<A>(packed);
  rows.data += b * shape.t * rows.stride + h * shape.heads.dim;
  return rows;
}

}  // namespace sherd::cpu
