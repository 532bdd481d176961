// RMSNorm, Zhang & Sennrich, arXiv:1910.07467, alone or with the residual sum in front. N rows, C columns; sums in f32.
// Elements moved per element of x: rmsnorm 1 read, 1 written; with residual 2 and 2; gradient 3 read (dy, x, dx), 1
// written: each once, since a block keeps its row in registers. Rows that do not come in packs of 16 bytes, and those
// wider than a block's registers, are read twice, the second time from L1 or L2.
// Floor at N 8192, C 4096, bf16, 3.35 TB/s (H100): rmsnorm 134 MB, 40 us; with residual, and gradient, 268 MB, 80 us;
// of the gradient's sums 4 MB more, which stay in L2. Goal 85%: 47, 94, 94 us. Measured share: unmeasured.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

/// Packs of its row that a thread keeps, and threads of a block at most: 512 by 4 packs are 16,384 columns in bf16.
/// Four loads under way per thread are 64 bytes; 24 warps of them 48 KiB per processor.
constexpr int kHeld = 4, kMostThreads = 512;
/// The gradient keeps three rows, their successors, and sums: half as much, and 8192 columns in bf16.
constexpr int kGradHeld = 2, kMostGradThreads = 512;

/// Threads for a row of C columns in packs of kN, of which each takes `held`: whole warps.
std::int64_t row_threads(std::int64_t c, int pack, int held) {
  return round_up(div_up(c, static_cast<std::int64_t>(pack) * held), 32);
}

/// Partial sums of dgain: fixed by C alone, so that bits do not depend on the device. Two blocks per processor of 132
/// at C 4096; rows of fewer columns have smaller blocks, and so more of them.
std::int64_t most_parts(std::int64_t c) {
  return 256 * std::clamp<std::int64_t>(4096 / c, 1, 4);
}

/// Calls fn(k, i) for each pack k that this thread keeps of a row of c columns; i is its first column.
template <int kPacks, int kN, class Fn>
__device__ inline void each_pack(int c, Fn fn) {
#pragma unroll
  for (int k = 0; k < kPacks; ++k)
    if (const int i = static_cast<int>(threadIdx.x + static_cast<unsigned>(k) * blockDim.x) * kN; i < c) fn(k, i);
}

__device__ inline float reciprocal_root(float squares, std::int64_t c, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(c) + eps);
}

/// One block per row, which it keeps; shared: 32 floats. With branch: sum = x + branch (rounded), of which the norm is
/// taken. Deterministic.
template <class A, int kN, bool kResidual>
__global__ void __launch_bounds__(kMostThreads)
    rmsnorm_kernel(Rows<const A> x, Rows<const A> branch, const A* __restrict__ gain, float eps, Rows<A> sum, Rows<A> y,
                   float* rstd, std::int64_t columns) {
  __shared__ float of_warp[32];
  const std::int64_t n = blockIdx.x;
  const int c = static_cast<int>(columns);
  Pack<A, kN> row[kHeld], other[kHeld];
  each_pack<kHeld, kN>(c, [&](int k, int i) { row[k] = load<kN>(x[n] + i); });
  if constexpr (kResidual) {
    each_pack<kHeld, kN>(c, [&](int k, int i) { other[k] = load<kN>(branch[n] + i); });
    each_pack<kHeld, kN>(c, [&](int k, int i) {
#pragma unroll
      for (int j = 0; j < kN; ++j) row[k].at[j] = from_f32<A>(to_f32(row[k].at[j]) + to_f32(other[k].at[j]));
      store<kN>(sum[n] + i, row[k]);
    });
  }
  float squares = 0;
  each_pack<kHeld, kN>(c, [&](int k, int) {
#pragma unroll
    for (int j = 0; j < kN; ++j) squares += to_f32(row[k].at[j]) * to_f32(row[k].at[j]);
  });
  const float r = reciprocal_root(block_reduce_in<Sum>(of_warp, squares), columns, eps);
  each_pack<kHeld, kN>(c, [&](int k, int i) { other[k] = load<kN>(gain + i); });
  each_pack<kHeld, kN>(c, [&](int k, int i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) row[k].at[j] = from_f32<A>(to_f32(row[k].at[j]) * r * to_f32(other[k].at[j]));
    store<kN>(y[n] + i, row[k]);
  });
  if (rstd != nullptr && threadIdx.x == 0) rstd[n] = r;
}

/// The same for rows of any width and place: a thread takes every blockDim.x-th element, twice.
template <class A, bool kResidual>
__global__ void __launch_bounds__(kMostThreads)
    any_rmsnorm_kernel(Rows<const A> x, Rows<const A> branch, const A* __restrict__ gain, float eps, Rows<A> sum,
                       Rows<A> y, float* rstd, std::int64_t c) {
  const std::int64_t n = blockIdx.x;
  const A* const normed = kResidual ? sum[n] : x[n];
  float squares = 0;
  for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x) {
    A in = x[n][i];
    if constexpr (kResidual) sum[n][i] = in = from_f32<A>(to_f32(in) + to_f32(branch[n][i]));
    squares += to_f32(in) * to_f32(in);
  }
  const float r = reciprocal_root(block_sum(squares), c, eps);
  for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x)  // this thread's own elements again
    y[n][i] = from_f32<A>(to_f32(normed[i]) * r * to_f32(gain[i]));
  if (rstd != nullptr && threadIdx.x == 0) rstd[n] = r;
}

/// What the gradient reads of one row.
template <class A, int kN>
struct GradRow {
  Pack<A, kN> dy[kGradHeld], x[kGradHeld], dx[kGradHeld];
  float rstd;
};

/// dx += rstd (g - h mean(g h)), g = dy gain, h = x rstd; parts (gridDim.x, C) = sums of dy h over the block's rows.
/// One block per run of `rows` rows; the next row is under way while one is worked on. Shared: 64 floats.
/// Deterministic.
template <class A, int kN>
__global__ void __launch_bounds__(kMostGradThreads)
    rmsnorm_grad_kernel(Rows<const A> dy, Rows<const A> x, const A* __restrict__ gain, const float* __restrict__ rstd,
                        Rows<A> dx, float* parts, std::int64_t n, std::int64_t columns, std::int64_t rows) {
  __shared__ float of_warp[2][32];  // a row's barrier frees what the last row used
  const int c = static_cast<int>(columns);
  const std::int64_t begin = blockIdx.x * rows, end = begin + rows < n ? begin + rows : n;
  float sums[kGradHeld][kN] = {};
  Pack<A, kN> weight[kGradHeld];
  each_pack<kGradHeld, kN>(c, [&](int k, int i) { weight[k] = load<kN>(gain + i); });
  const auto read = [&](GradRow<A, kN>& to, std::int64_t row) {
    each_pack<kGradHeld, kN>(c, [&](int k, int i) {
      to.dy[k] = load<kN>(dy[row] + i);
      to.x[k] = load<kN>(x[row] + i);
      to.dx[k] = load<kN>(dx[row] + i);
    });
    to.rstd = rstd[row];
  };
  GradRow<A, kN> now, next;
  read(now, begin);
  for (std::int64_t row = begin; row < end; ++row, now = next) {
    if (row + 1 < end) read(next, row + 1);
    float dot = 0;
    each_pack<kGradHeld, kN>(c, [&](int k, int) {
#pragma unroll
      for (int j = 0; j < kN; ++j) dot += to_f32(now.dy[k].at[j]) * to_f32(weight[k].at[j]) * to_f32(now.x[k].at[j]);
    });
    const float r = now.rstd, mean = block_reduce_in<Sum>(of_warp[row % 2], dot) * r / static_cast<float>(columns);
    each_pack<kGradHeld, kN>(c, [&](int k, int i) {
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const float h = to_f32(now.x[k].at[j]) * r, g = to_f32(now.dy[k].at[j]);
        sums[k][j] += g * h;
        now.dx[k].at[j] = from_f32<A>(to_f32(now.dx[k].at[j]) + r * (g * to_f32(weight[k].at[j]) - h * mean));
      }
      store<kN>(dx[row] + i, now.dx[k]);
    });
  }
  each_pack<kGradHeld, kN>(c, [&](int k, int i) { store_f32<kN>(parts + blockIdx.x * columns + i, sums[k]); });
}

/// The same for rows of any width and place: the block keeps its sums in shared memory, C floats and 32, and reads its
/// rows twice.
template <class A>
__global__ void __launch_bounds__(kMostGradThreads)
    any_rmsnorm_grad_kernel(Rows<const A> dy, Rows<const A> x, const A* __restrict__ gain,
                            const float* __restrict__ rstd, Rows<A> dx, float* parts, std::int64_t n, std::int64_t c,
                            std::int64_t rows) {
  float* const sums = dynamic_shared<float>();
  const std::int64_t begin = blockIdx.x * rows, end = begin + rows < n ? begin + rows : n;
  for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x) sums[i] = 0;  // a thread touches its own columns only
  for (std::int64_t row = begin; row < end; ++row) {
    float dot = 0;
    for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x)
      dot += to_f32(dy[row][i]) * to_f32(gain[i]) * to_f32(x[row][i]);
    const float r = rstd[row], mean = block_sum(dot) * r / static_cast<float>(c);
    for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x) {
      const float h = to_f32(x[row][i]) * r, g = to_f32(dy[row][i]);
      sums[i] += g * h;
      dx[row][i] = from_f32<A>(to_f32(dx[row][i]) + r * (g * to_f32(gain[i]) - h * mean));
    }
  }
  for (std::int64_t i = threadIdx.x; i < c; i += blockDim.x) parts[blockIdx.x * c + i] = sums[i];
}

constexpr int kGainWarps = 32;

/// dgain (C) = parts (P, C) summed + beta dgain. One block of kGainWarps warps per 32 columns, a lane per column: warp
/// w sums the parts w, w + kGainWarps, ... in order, the first warp the warps' sums. Deterministic.
template <class G>
__global__ void __launch_bounds__(kGainWarps * 32)
    rmsnorm_gain_kernel(const float* __restrict__ parts, int count, G* dgain, float beta, std::int64_t c) {
  __shared__ float of_warp[kGainWarps][32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 32 + lane;
  float sum = 0;
  if (i < c) {
#pragma unroll 8
    for (int p = warp; p < count; p += kGainWarps) sum += parts[p * c + i];
  }
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || i >= c) return;
#pragma unroll
  for (int w = 1; w < kGainWarps; ++w) sum += of_warp[w][lane];
  dgain[i] = from_f32<G>(beta == 0 ? sum : sum + beta * to_f32(dgain[i]));
}

/// The common part of both forward functions; branch and sum are null without a residual.
template <class A, bool kResidual>
void forward(const char* op, Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
             Stream& s) {
  constexpr int kN = kPackOf<A>;
  const std::int64_t threads = row_threads(x.cols(), kN, kHeld);
  const bool fits = packs(x) && packs(branch) && packs(gain) && packs(sum) && packs(y) && threads <= kMostThreads;
  Grid grid;
  grid.x = x.rows();
  grid.threads = narrow<int>(fits ? threads : std::min<std::int64_t>(256, row_threads(x.cols(), 1, 1)));
  launch(s, op, fits ? &rmsnorm_kernel<A, kN, kResidual> : &any_rmsnorm_kernel<A, kResidual>, grid, rows_of<const A>(x),
         rows_of<const A>(branch), reinterpret_cast<const A*>(gain.data), eps, rows_of<A>(sum), rows_of<A>(y),
         reinterpret_cast<float*>(rstd.data), x.cols());
}

}  // namespace

void OpsImpl::rmsnorm(Tensor x, Tensor gain, float eps, Tensor y, Tensor rstd, Stream& s) {
  check_rmsnorm(x, gain, y, rstd);
  with_float_type(x.dtype,
                  [&](auto type) { forward<decltype(type), false>("rmsnorm", x, {}, gain, eps, {}, y, rstd, s); });
}

void OpsImpl::rmsnorm_residual(Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
                               Stream& s) {
  check_rmsnorm_residual(x, branch, gain, sum, y, rstd);
  with_float_type(x.dtype, [&](auto type) {
    forward<decltype(type), true>("rmsnorm_residual", x, branch, gain, eps, sum, y, rstd, s);
  });
}

void OpsImpl::rmsnorm_grad(Tensor dy, Tensor x, Tensor gain, Tensor rstd, Tensor dx, Tensor dgain, float beta,
                           Stream& s) {
  check_rmsnorm_grad(dy, x, gain, rstd, dx, dgain);
  const std::int64_t n = x.rows(), c = x.cols();
  const std::int64_t rows = std::max<std::int64_t>(1, div_up(n, most_parts(c))), parts = div_up(n, rows);
  SHERD_CHECK(parts * c <= scratch_.numel(), "rmsnorm_grad of {} columns", c);
  auto* const sums = reinterpret_cast<float*>(scratch_.data);
  with_float_type(x.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const std::int64_t threads = row_threads(c, kN, kGradHeld);
    const bool fits = packs(dy) && packs(x) && packs(gain) && packs(dx) && threads <= kMostGradThreads;
    Grid grid{parts, 1, 1, narrow<int>(threads), 0};
    if (!fits) {
      grid.threads = narrow<int>(std::min<std::int64_t>(256, row_threads(c, 1, 1)));
      grid.shared = c * static_cast<std::int64_t>(sizeof(float));
      SHERD_CHECK(grid.shared + 1024 <= facts(s).shared_bytes_per_block, "rmsnorm_grad of {} columns", c);
    }
    launch(s, "rmsnorm_grad", fits ? &rmsnorm_grad_kernel<A, kN> : &any_rmsnorm_grad_kernel<A>, grid,
           rows_of<const A>(dy), rows_of<const A>(x), reinterpret_cast<const A*>(gain.data),
           reinterpret_cast<const float*>(rstd.data), rows_of<A>(dx), sums, n, c, rows);
  });
  with_float_type(dgain.dtype, [&](auto type) {
    using G = decltype(type);
    launch(s, "rmsnorm_grad", &rmsnorm_gain_kernel<G>, Grid{div_up(c, 32), 1, 1, kGainWarps * 32, 0},
           static_cast<const float*>(sums), narrow<int>(parts), reinterpret_cast<G*>(dgain.data), beta, c);
  });
}

}  // namespace sherd::cuda
