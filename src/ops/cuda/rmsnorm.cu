// RMSNorm, Zhang & Sennrich, arXiv:1910.07467, alone or with the residual sum in front. N rows, C columns; sums in f32.
// Elements moved per element of x: rmsnorm 1 read, 1 written; with residual 2 and 2; gradient 3 read (dy, x, dx), 1
// written. A row is read twice by its block, the second time from L1.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr std::int64_t kMostParts = 256;  // partial sums of dgain; fixed, so that bits do not depend on the device

/// Threads for a row of C columns in packs of kN: whole warps.
int row_threads(std::int64_t c, int pack) {
  return narrow<int>(std::min<std::int64_t>(256, round_up(div_up(c, pack), 32)));
}

/// One block per row; shared: 32 floats. With branch: sum = x + branch (rounded), of which the norm is taken.
template <class A, int kN, bool kResidual>
__global__ void rmsnorm_kernel(Rows<const A> x, Rows<const A> branch, const A* __restrict__ gain, float eps,
                               Rows<A> sum, Rows<A> y, float* rstd, std::int64_t c) {
  const std::int64_t n = blockIdx.x, step = static_cast<std::int64_t>(blockDim.x) * kN, first = threadIdx.x * kN;
  const A* const normed = kResidual ? sum[n] : x[n];
  float squares = 0;
  for (std::int64_t i = first; i < c; i += step) {
    Pack<A, kN> in = load<kN>(x[n] + i);
    if constexpr (kResidual) {
      const Pack<A, kN> added = load<kN>(branch[n] + i);
      for (int j = 0; j < kN; ++j) in.at[j] = from_f32<A>(to_f32(in.at[j]) + to_f32(added.at[j]));
      store<kN>(sum[n] + i, in);
    }
    for (int j = 0; j < kN; ++j) squares += to_f32(in.at[j]) * to_f32(in.at[j]);
  }
  const float r = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(c) + eps);
  for (std::int64_t i = first; i < c; i += step) {  // this thread's own elements again
    const Pack<A, kN> in = load<kN>(normed + i), weight = load<kN>(gain + i);
    Pack<A, kN> out;
    for (int j = 0; j < kN; ++j) out.at[j] = from_f32<A>(to_f32(in.at[j]) * r * to_f32(weight.at[j]));
    store<kN>(y[n] + i, out);
  }
  if (rstd != nullptr && threadIdx.x == 0) rstd[n] = r;
}

/// dx += rstd (g - h mean(g h)), g = dy gain, h = x rstd; parts (gridDim.x, C) = sums of dy h over the block's rows.
/// One block per run of `rows` rows, which keeps its sums in shared memory: C floats, and 32.
template <class A, int kN>
__global__ void rmsnorm_grad_kernel(Rows<const A> dy, Rows<const A> x, const A* __restrict__ gain, const float* rstd,
                                    Rows<A> dx, float* parts, std::int64_t n, std::int64_t c, std::int64_t rows) {
  float* const sums = dynamic_shared<float>();
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * kN, first = threadIdx.x * kN;
  const std::int64_t begin = blockIdx.x * rows, end = begin + rows < n ? begin + rows : n;
  for (std::int64_t i = first; i < c; i += step)  // a thread touches its own columns only
    for (int j = 0; j < kN; ++j) sums[i + j] = 0;
  for (std::int64_t row = begin; row < end; ++row) {
    float dot = 0;
    for (std::int64_t i = first; i < c; i += step) {
      const Pack<A, kN> d = load<kN>(dy[row] + i), in = load<kN>(x[row] + i), weight = load<kN>(gain + i);
      for (int j = 0; j < kN; ++j) dot += to_f32(d.at[j]) * to_f32(weight.at[j]) * to_f32(in.at[j]);
    }
    const float r = rstd[row], mean = block_sum(dot) * r / static_cast<float>(c);
    for (std::int64_t i = first; i < c; i += step) {
      const Pack<A, kN> d = load<kN>(dy[row] + i), in = load<kN>(x[row] + i), weight = load<kN>(gain + i);
      Pack<A, kN> out = load<kN>(dx[row] + i);
      for (int j = 0; j < kN; ++j) {
        const float h = to_f32(in.at[j]) * r, g = to_f32(d.at[j]);
        sums[i + j] += g * h;
        out.at[j] = from_f32<A>(to_f32(out.at[j]) + r * (g * to_f32(weight.at[j]) - h * mean));
      }
      store<kN>(dx[row] + i, out);
    }
  }
  for (std::int64_t i = first; i < c; i += step)
    for (int j = 0; j < kN; ++j) parts[blockIdx.x * c + i + j] = sums[i + j];
}

/// dgain (C) = parts (P, C) summed in order + beta dgain. A thread per column.
template <class G>
__global__ void rmsnorm_gain_kernel(const float* parts, std::int64_t count, G* dgain, float beta, std::int64_t c) {
  for (std::int64_t i = global_thread(); i < c; i += grid_threads()) {
    float sum = 0;
    for (std::int64_t p = 0; p < count; ++p) sum += parts[p * c + i];
    dgain[i] = from_f32<G>(beta == 0 ? sum : sum + beta * to_f32(dgain[i]));
  }
}

/// The common part of both forward functions; branch and sum are null without a residual.
template <class A, bool kResidual>
void forward(const char* op, Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
             Stream& s) {
  constexpr int kN = kPackOf<A>;
  const bool fits = packs(x) && packs(branch) && packs(gain) && packs(sum) && packs(y);
  Grid grid;
  grid.x = x.rows();
  grid.threads = row_threads(x.cols(), fits ? kN : 1);
  launch(s, op, fits ? &rmsnorm_kernel<A, kN, kResidual> : &rmsnorm_kernel<A, 1, kResidual>, grid, rows_of<const A>(x),
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
  const std::int64_t rows = std::max<std::int64_t>(1, div_up(n, kMostParts)), parts = div_up(n, rows);
  const std::int64_t shared = c * static_cast<std::int64_t>(sizeof(float));
  SHERD_CHECK(parts * c <= scratch_.numel() && shared + 1024 <= facts(s).shared_bytes_per_block,
              "rmsnorm_grad of {} columns", c);
  auto* const sums = reinterpret_cast<float*>(scratch_.data);
  with_float_type(x.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const bool fits = packs(dy) && packs(x) && packs(gain) && packs(dx);
    const Grid grid{parts, 1, 1, row_threads(c, fits ? kN : 1), shared};
    launch(s, "rmsnorm_grad", fits ? &rmsnorm_grad_kernel<A, kN> : &rmsnorm_grad_kernel<A, 1>, grid,
           rows_of<const A>(dy), rows_of<const A>(x), reinterpret_cast<const A*>(gain.data),
           reinterpret_cast<const float*>(rstd.data), rows_of<A>(dx), sums, n, c, rows);
  });
  with_float_type(dgain.dtype, [&](auto type) {
    using G = decltype(type);
    launch(s, "rmsnorm_grad", &rmsnorm_gain_kernel<G>, element_grid(c), static_cast<const float*>(sums), parts,
           reinterpret_cast<G*>(dgain.data), beta, c);
  });
}

}  // namespace sherd::cuda
