#include "attention_tile.hpp"

namespace sherd::cpu {
namespace {

using Vec [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;

inline Vec load(const float* p) {
  return *reinterpret_cast<const Vec*>(p);
}
inline void store(float* p, Vec v) {
  *reinterpret_cast<Vec*>(p) = v;
}

/// kRows x kMicroCols of c in registers: per k, two loads of b and kRows broadcasts of a.
template <std::int64_t kRows, bool kTransposed>
void micro(std::int64_t k, const float* __restrict a, std::int64_t a_stride, const float* __restrict b,
           std::int64_t b_stride, float* __restrict c, std::int64_t c_stride, bool add) {
  Vec sum[kRows][2];
#pragma GCC unroll 16
  for (std::int64_t r = 0; r < kRows; ++r) {
    sum[r][0] = add ? load(c + r * c_stride) : Vec{};
    sum[r][1] = add ? load(c + r * c_stride + kLanes) : Vec{};
  }
  for (std::int64_t p = 0; p < k; ++p) {
    const Vec b0 = load(b + p * b_stride), b1 = load(b + p * b_stride + kLanes);
#pragma GCC unroll 16
    for (std::int64_t r = 0; r < kRows; ++r) {
      const float x = kTransposed ? a[p * a_stride + r] : a[r * a_stride + p];
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    }
  }
#pragma GCC unroll 16
  for (std::int64_t r = 0; r < kRows; ++r) {
    store(c + r * c_stride, sum[r][0]);
    store(c + r * c_stride + kLanes, sum[r][1]);
  }
}

/// The kernel for `rows` <= kRows rows.
template <std::int64_t kRows, bool kTransposed>
void micro_tail(std::int64_t rows, std::int64_t k, const float* a, std::int64_t a_stride, const float* b,
                std::int64_t b_stride, float* c, std::int64_t c_stride, bool add) {
  if constexpr (kRows > 1)
    if (rows < kRows) return micro_tail<kRows - 1, kTransposed>(rows, k, a, a_stride, b, b_stride, c, c_stride, add);
  micro<kRows, kTransposed>(k, a, a_stride, b, b_stride, c, c_stride, add);
}

}  // namespace

template <bool kTransposed>
void tile_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_stride, const float* b,
                  std::int64_t b_stride, float* c, std::int64_t c_stride, bool add) {
  for (std::int64_t j = 0; j < n; j += kMicroCols)
    for (std::int64_t i = 0; i < m; i += kMicroRows)
      micro_tail<kMicroRows, kTransposed>(std::min(kMicroRows, m - i), k, a + i * (kTransposed ? 1 : a_stride),
                                          a_stride, b + j, b_stride, c + i * c_stride + j, c_stride, add);
}
template void tile_product<false>(std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t, const float*,
                                  std::int64_t, float*, std::int64_t, bool);
template void tile_product<true>(std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t, const float*,
                                 std::int64_t, float*, std::int64_t, bool);

}  // namespace sherd::cpu
