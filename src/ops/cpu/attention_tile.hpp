#pragma once
// What the attention kernels share: tile sizes, products of tiles that lie in cache, and loads of tiles from the packed
// qkv matrix. All tiles are f32; a tile of R rows and D columns has row stride padded(D), its padding is zero.
#include <algorithm>
#include <cstdint>

#include "check.hpp"
#include "elementwise.hpp"
#include "sherd/base/narrow.hpp"
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
static_assert(kStrip % kMicroRows == 0 && kKeys % kMicroCols == 0 && kKeys % kMicroRows == 0);

inline std::int64_t padded(std::int64_t d) {
  return round_up(d, kMicroCols);
}

/// c (m, n) = a (m, k) b (k, n), or += if `add`. n is a multiple of kMicroCols. With kTransposed a is stored (k, m).
/// Sums run over k in order.
template <bool kTransposed>
void tile_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_stride, const float* b,
                  std::int64_t b_stride, float* c, std::int64_t c_stride, bool add);

/// to (rows, D) = scale from.
template <class A>
void load_rows(Rows<const A> from, std::int64_t rows, std::int64_t d, float scale, float* to) {
  const std::int64_t stride = padded(d);
  for (std::int64_t i = 0; i < rows; ++i) {
    const A* row = from[i];
    float* out = to + i * stride;
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) out[j] = to_f32(row[j]) * scale;
    std::fill(out + d, out + stride, 0.0f);
  }
}

/// to (D, kKeys) = from (rows, D) transposed; columns from `rows` on are zero.
template <class A>
void load_transposed(Rows<const A> from, std::int64_t rows, std::int64_t d, float* to) {
  if (rows < kKeys) std::fill(to, to + d * kKeys, 0.0f);
  for (std::int64_t first = 0; first < d; first += 16) {
    const std::int64_t last = std::min(d, first + 16);
    for (std::int64_t i = 0; i < rows; ++i) {
      const A* row = from[i];
      for (std::int64_t j = first; j < last; ++j) to[j * kKeys + i] = to_f32(row[j]);
    }
  }
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

/// Sizes of one call, and where head h of row b begins.
struct AttentionShape {
  std::int64_t b, t;
  Heads heads;
  float scale;  // 1 / sqrt(D)

  std::int64_t group() const { return heads.query / heads.kv; }
  template <class A>
  Rows<A> head(const Tensor& packed, std::int64_t row, std::int64_t h) const {
    Rows<A> rows = rows_of<A>(packed);
    rows.data += row * t * rows.stride + h * heads.dim;
    return rows;
  }
};
/// Checks qkv (B, T, (H + 2 K) D), doc_start (B, T), out (B, T, H D), lse (B, H, T).
AttentionShape attention_shape(const Tensor& qkv, const Tensor& doc_start, Heads heads, const Tensor& out,
                               const Tensor& lse);

}  // namespace sherd::cpu
