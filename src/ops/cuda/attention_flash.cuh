#pragma once
// Tiles of the flash attention kernels: bf16 rows in shared memory, products of them on tensor cores. A block has 4
// warps; a warp owns 16 rows of a product at a time, as the accumulators d of mma_16x8x16 lay them out: with group =
// lane / 4 and pair = 2 (lane % 4), a lane has of each 16 x 8 part the rows group and group + 8, columns pair and pair
// + 1.
#include "attention.cuh"

namespace sherd::cuda::flash {

constexpr int kThreads = 128;
constexpr int kTile = 64;        // queries or keys that travel together
constexpr int kRowsOfWarp = 16;  // kTile / 4 warps
constexpr float kLog2E = 1.4426950408889634f;

/// Elements between the rows of a tile for heads up to kDim: an odd number of 16-byte packs, so that the 8 rows that
/// one phase of ldmatrix reads lie in different banks.
template <int kDim>
constexpr int kStride = kDim + 8;
template <int kDim>
constexpr int kTileElements = kTile* kStride<kDim>;
template <int kDim>
constexpr std::int64_t kTileBytes = kTileElements<kDim> * 2;

template <int kColumns>
using Accumulator = float[kColumns / 8][4];  // (16, kColumns)
template <int kDim>
using LeftOperand = std::uint32_t[kDim / 16][4];  // (16, kDim) bf16

__device__ inline int group_of_lane() {
  return lane_of_thread() / 4;
}
__device__ inline int pair_of_lane() {
  return 2 * (lane_of_thread() % 4);
}

/// Starts to copy kRows rows from `first` on; zeros beyond `rows` and beyond `dim`. A thread keeps to one column of
/// packs.
template <int kRows, int kDim>
__device__ inline void copy_rows(bf16* tile, Rows<const bf16> from, int first, int rows, int dim) {
  constexpr int kPacks = kDim <= 32 ? 4 : kDim <= 64 ? 8 : 16, kStep = kThreads / kPacks;  // rows at once
  const int row = static_cast<int>(threadIdx.x) / kPacks, col = static_cast<int>(threadIdx.x) % kPacks * 8;
  if (col >= kDim) return;
  const bf16* at = from[first + row] + col;
  bf16* const to = tile + row * kStride<kDim> + col;
#pragma unroll 2  // more of them would keep row addresses in registers, which are scarce
  for (int i = 0; i < kRows; i += kStep, at += kStep * from.stride)
    copy_16_async(to + i * kStride<kDim>, at, first + row + i < rows && col < dim);
}

/// a = tile (row .. row + 15, col .. col + 15), as a left operand.
template <int kDim>
__device__ inline void load_left(std::uint32_t (&a)[4], const bf16* tile, int row, int col) {
  const int lane = lane_of_thread();
  ldmatrix_x4(a, tile + (row + lane % 16) * kStride<kDim> + col + lane / 16 * 8);
}
/// Two right operands side by side, (16, 16): b = tile (row .. row + 15, col .. col + 15).
template <int kDim>
__device__ inline void load_right(std::uint32_t (&b)[4], const bf16* tile, int row, int col) {
  const int lane = lane_of_thread();
  ldmatrix_x4_transposed(b, tile + (row + lane % 16) * kStride<kDim> + col + lane / 16 * 8);
}
/// The same of the transposed part: b = tile (row .. row + 15, col .. col + 15)^T.
template <int kDim>
__device__ inline void load_right_transposed(std::uint32_t (&b)[4], const bf16* tile, int row, int col) {
  const int lane = lane_of_thread();
  ldmatrix_x4(b, tile + (row + lane % 8 + lane / 16 * 8) * kStride<kDim> + col + lane / 8 % 2 * 8);
}

/// (low, high) (16, 16) += a (16, 16) b (16, 16).
__device__ inline void multiply_add(float (&low)[4], float (&high)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[4]) {
  const std::uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
  mma_16x8x16(low, a, left);
  mma_16x8x16(high, a, right);
}

/// Two accumulators side by side, (16, 16), rounded to bf16, as a left operand.
__device__ inline void round_to_left(std::uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
  a[0] = f32x2_to_bf16x2_bits(low[0], low[1]);
  a[1] = f32x2_to_bf16x2_bits(low[2], low[3]);
  a[2] = f32x2_to_bf16x2_bits(high[0], high[1]);
  a[3] = f32x2_to_bf16x2_bits(high[2], high[3]);
}

template <int kColumns>
__device__ inline void clear(Accumulator<kColumns>& sum) {
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[n][i] = 0;
}

/// sum (16, kDim) += weights (16, kCount), rounded to bf16, times the rows `row` .. of a tile.
template <int kDim, int kCount>
__device__ inline void add_weighted_rows(Accumulator<kDim>& sum, const Accumulator<kCount>& weights, const bf16* tile,
                                         int row) {
#pragma unroll
  for (int u = 0; u < kCount; u += 16) {
    std::uint32_t a[4], b[4];
    round_to_left(a, weights[u / 8], weights[u / 8 + 1]);
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      load_right<kDim>(b, tile, row + u, d);
      multiply_add(sum[d / 8], sum[d / 8 + 1], a, b);
    }
  }
}

/// Rows `first` + group and `first` + group + 8 of `to` = factor[0], factor[1] times those of sum, where they exist.
template <int kDim>
__device__ inline void store_rows(const Accumulator<kDim>& sum, const float (&factor)[2], Rows<bf16> to, int first,
                                  int rows, int dim) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + group_of_lane() + 8 * r;
    if (row >= rows) continue;
    bf16* const line = to[row] + pair_of_lane();
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      if (n * 8 >= dim) continue;
      const Pack<bf16, 2> pair{
          {from_f32<bf16>(sum[n][2 * r] * factor[r]), from_f32<bf16>(sum[n][2 * r + 1] * factor[r])}};
      store<2>(line + n * 8, pair);
    }
  }
}

/// fn(std::integral_constant<int, kDim>) for the smallest instance that takes heads of `dim`; what is beyond dim is
/// zero. 64 and 128 are the head dims of Llama's family; 32 is for small test models, 96 for the few models of 80
/// and 96.
template <class Fn>
void with_dim(std::int64_t dim, Fn&& fn) {
  if (dim <= 32) {
    fn(std::integral_constant<int, 32>{});
  } else if (dim <= 64) {
    fn(std::integral_constant<int, 64>{});
  } else if (dim <= 96) {
    fn(std::integral_constant<int, 96>{});
  } else {
    fn(std::integral_constant<int, 128>{});
  }
}

}  // namespace sherd::cuda::flash
