// Codes in eight bits with one scale per tensor (base/f8.hpp): the largest magnitude, the scale, then the codes, as x
// lies and transposed, in one pass. The scale never leaves the device. A scale that is given saves the first two.
// Bytes per element of x (bf16): 2 read for the magnitude, 2 read and 1 written for codes, 1 more for both layouts.
// Floor at 8192 x 11008, 3.35 TB/s (H100): 451 MB, 135 us, and 541 MB, 161 us; 158 and 190 us at 85%; with a given
// scale 271 MB, 81 us, and 95 us at 85%. Measured share: unmeasured.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 256, kTile = 128;  // a block's part of x is kTile x kTile
constexpr int kRowsOfThread = 4, kColsOfThread = 16, kGroups = kTile / kColsOfThread;
constexpr int kWords = kTile / 4;  // of a column's codes in shared memory

/// parts (gridDim.x) = the largest magnitudes, as bits of bf16, that each block met. As integers NaN is above infinity,
/// and that above all else. Grid: element_grid over packs of 8; no order reaches a maximum: deterministic.
__global__ void __launch_bounds__(kElementThreads)
    largest_kernel(Rows<const bf16> x, std::int64_t packs_per_row, std::int64_t packs, std::uint32_t* parts) {
  std::uint32_t most = 0;
#pragma unroll 4
  for (std::int64_t i = global_thread(); i < packs; i += grid_threads()) {
    const std::int64_t row = packs == packs_per_row ? 0 : i / packs_per_row;
    const Pack<std::uint32_t, 4> in =
        *reinterpret_cast<const Pack<std::uint32_t, 4>*>(x[row] + (i - row * packs_per_row) * 8);
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t low = in.at[j] << 16 & 0x7fff0000u, high = in.at[j] & 0x7fff0000u;
      const std::uint32_t both = low > high ? low : high;
      most = both > most ? both : most;
    }
  }
  most = block_max(most);
  if (threadIdx.x == 0) parts[blockIdx.x] = most;
}

/// scale (1) from parts (count). One block of 256 threads.
template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(const std::uint32_t* parts, std::int64_t count, float* scale) {
  std::uint32_t most = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) most = parts[i] > most ? parts[i] : most;
  most = block_max(most);
  if (threadIdx.x == 0) *scale = scale_for_f8<T>(most);
}

/// Four rows of four codes become four columns of four.
__device__ inline void transpose_4x4(const std::uint32_t (&row)[4], std::uint32_t (&column)[4]) {
  const std::uint32_t a = __byte_perm(row[0], row[1], 0x5140), b = __byte_perm(row[2], row[3], 0x5140);
  const std::uint32_t c = __byte_perm(row[0], row[1], 0x7362), d = __byte_perm(row[2], row[3], 0x7362);
  column[0] = __byte_perm(a, b, 0x5410);
  column[1] = __byte_perm(a, b, 0x7632);
  column[2] = __byte_perm(c, d, 0x5410);
  column[3] = __byte_perm(c, d, 0x7632);
}

/// 16 elements as 16 codes, in four words.
template <class T>
__device__ inline Pack<std::uint32_t, 4> codes_of(const bf16* from, float factor) {
  Pack<std::uint32_t, 4> out;
  for (int half = 0; half < 2; ++half) {
    const Pack<bf16, 8> in = load<8>(from + 8 * half);
    for (int w = 0; w < 2; ++w) {
      const bf16* const at = in.at + 4 * w;
      const std::uint32_t low = f32x2_to_f8x2<T>(to_f32(at[0]) * factor, to_f32(at[1]) * factor);
      const std::uint32_t high = f32x2_to_f8x2<T>(to_f32(at[2]) * factor, to_f32(at[3]) * factor);
      out.at[2 * half + w] = low | high << 16;
    }
  }
  return out;
}

/// codes (R, C), transposed (C, R), each if asked for. Grid: a block of 256 threads per tile of 128 x 128, along C
/// first; a thread takes 4 rows of 16 elements. Shared: 16 KiB, a line of 32 words per column of the tile; word i of a
/// column of group g lies at i ^ 4 g, so that neither the words of a warp nor its reads of 16 bytes meet in a bank.
template <class T, bool kCodes, bool kTransposed>
__global__ void __launch_bounds__(kThreads)
    codes_kernel(Rows<const bf16> x, const float* scale, std::uint8_t* codes, std::uint8_t* transposed,
                 std::int64_t rows, std::int64_t cols) {
  __shared__ __align__(16) std::uint32_t tile[kTransposed ? kTile * kWords : 4];
  const std::int64_t across = (cols + kTile - 1) / kTile;
  const std::int64_t tile_row = blockIdx.x / across * kTile, tile_col = blockIdx.x % across * kTile;
  const int thread = static_cast<int>(threadIdx.x), group = thread % kGroups, quad = thread / kGroups;
  const std::int64_t row = tile_row + quad * kRowsOfThread, col = tile_col + group * kColsOfThread;
  const float factor = 1.0f / *scale;  // exact: a power of two, or NaN
  if (row < rows && col < cols) {      // both dims are multiples of 16: all of it or nothing
    Pack<std::uint32_t, 4> of_row[kRowsOfThread];
#pragma unroll
    for (int r = 0; r < kRowsOfThread; ++r) {
      of_row[r] = codes_of<T>(x[row + r] + col, factor);
      if constexpr (kCodes) *reinterpret_cast<Pack<std::uint32_t, 4>*>(codes + (row + r) * cols + col) = of_row[r];
    }
    if constexpr (kTransposed) {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const std::uint32_t four[4] = {of_row[0].at[w], of_row[1].at[w], of_row[2].at[w], of_row[3].at[w]};
        std::uint32_t column[4];
        transpose_4x4(four, column);
        for (int i = 0; i < 4; ++i) tile[(group * kColsOfThread + 4 * w + i) * kWords + (quad ^ 4 * group)] = column[i];
      }
    }
  }
  if constexpr (kTransposed) {
    __syncthreads();
    for (int chunk = thread; chunk < kTile * kGroups; chunk += kThreads) {  // of 16 codes of a column
      const int c = chunk / kGroups, part = chunk % kGroups;
      const std::int64_t to_row = tile_col + c, to_col = tile_row + 16 * part;
      if (to_row >= cols || to_col >= rows) continue;
      const std::uint32_t* const from = tile + c * kWords + (4 * part ^ 4 * (c / kColsOfThread));
      *reinterpret_cast<Pack<std::uint32_t, 4>*>(transposed + to_row * rows + to_col) =
          *reinterpret_cast<const Pack<std::uint32_t, 4>*>(from);
    }
  }
}

/// parts: scratch of element_grid's blocks.
template <class T>
void find_scale(Tensor x, std::uint32_t* parts, Tensor scale, Stream& s) {
  const std::int64_t packs = x.numel() / 8;
  const Grid grid = element_grid(packs);
  launch(s, "quantize", largest_kernel, grid, rows_of<const bf16>(x), x.contiguous() ? packs : x.cols() / 8, packs,
         parts);
  launch(s, "quantize", scale_kernel<T>, Grid{.threads = kThreads}, static_cast<const std::uint32_t*>(parts), grid.x,
         reinterpret_cast<float*>(scale.data));
}

template <class T>
void write_codes(Tensor x, Tensor codes, Tensor transposed, Tensor scale, Stream& s) {
  const auto kernel = codes && transposed ? &codes_kernel<T, true, true>
                      : codes             ? &codes_kernel<T, true, false>
                                          : &codes_kernel<T, false, true>;
  const Grid grid{.x = div_up(x.rows(), kTile) * div_up(x.cols(), kTile), .threads = kThreads};
  launch(s, "quantize", kernel, grid, rows_of<const bf16>(x), reinterpret_cast<const float*>(scale.data),
         reinterpret_cast<std::uint8_t*>(codes.data), reinterpret_cast<std::uint8_t*>(transposed.data), x.rows(),
         x.cols());
}

}  // namespace

void OpsImpl::quantize(Tensor x, Tensor codes, Tensor transposed, Tensor scale, F8Scale how, Stream& s) {
  check_quantize(x, codes, transposed, scale, how);
  with_f8_type(codes ? codes.dtype : transposed.dtype, [&](auto type) {
    using T = decltype(type);
    if (how == F8Scale::find) find_scale<T>(x, reinterpret_cast<std::uint32_t*>(scratch_.data), scale, s);
    write_codes<T>(x, codes, transposed, scale, s);
  });
}

}  // namespace sherd::cuda
