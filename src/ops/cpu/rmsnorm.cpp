// RMSNorm, Zhang & Sennrich, arXiv:1910.07467, alone or with the residual sum in front. N rows, C columns; sums in f32.
#include <cmath>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kRows = 8;         // rows of one piece
constexpr std::int64_t kGainBlocks = 64;  // partial sums of dgain: enough for any machine's threads

template <class A>
void norm_row(const A* x, const A* gain, float eps, A* y, float* rstd, std::int64_t c) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t i = 0; i < c; ++i) squares += to_f32(x[i]) * to_f32(x[i]);
  const float r = 1.0f / std::sqrt(squares / static_cast<float>(c) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) y[i] = from_f32<A>(to_f32(x[i]) * r * to_f32(gain[i]));
  if (rstd) *rstd = r;
}

template <class A>
void add_row(const A* x, const A* branch, A* sum, std::int64_t c) {
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) sum[i] = from_f32<A>(to_f32(x[i]) + to_f32(branch[i]));
}

/// dx += rstd (g - h mean(g h)) with g = dy gain, h = x rstd; partial (C) += dy h.
template <class A>
void grad_row(const A* dy, const A* x, const A* gain, float rstd, A* dx, float* partial, std::int64_t c) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t i = 0; i < c; ++i) dot += to_f32(dy[i]) * to_f32(gain[i]) * to_f32(x[i]);
  const float mean = dot * rstd / static_cast<float>(c);
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) {
    const float h = to_f32(x[i]) * rstd, d = to_f32(dy[i]);
    partial[i] += d * h;
    dx[i] = from_f32<A>(to_f32(dx[i]) + rstd * (d * to_f32(gain[i]) - h * mean));
  }
}

/// dgain (C) = the blocks' partial sums in order + beta dgain.
template <class G>
void combine(const float* partial, std::int64_t blocks, G* dgain, float beta, std::int64_t c) {
  for (std::int64_t i = 0; i < c; ++i) {
    float sum = 0;
    for (std::int64_t b = 0; b < blocks; ++b) sum += partial[b * c + i];
    dgain[i] = from_f32<G>(beta == 0 ? sum : sum + beta * to_f32(dgain[i]));
  }
}

}  // namespace

void OpsImpl::rmsnorm(Tensor x, Tensor gain, float eps, Tensor y, Tensor rstd, Stream& s) {
  check_rmsnorm(x, gain, y, rstd);
  enqueue(s, "rmsnorm", access({x, gain}, {y, rstd}), [=] {
    with_float_type(x.dtype, [&](auto type) {
      using A = decltype(type);
      const auto in = rows_of<const A>(x);
      const auto out = rows_of<A>(y);
      const A* weight = gain.ptr<A>();
      float* r = rstd ? rstd.ptr<float>() : nullptr;
      for_blocks(x.rows(), kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = begin; n < end; ++n)
          norm_row<A>(in[n], weight, eps, out[n], r ? r + n : nullptr, x.cols());
      });
    });
  });
}

void OpsImpl::rmsnorm_residual(Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
                               Stream& s) {
  check_rmsnorm_residual(x, branch, gain, sum, y, rstd);
  enqueue(s, "rmsnorm_residual", access({x, branch, gain}, {sum, y, rstd}), [=] {
    with_float_type(x.dtype, [&](auto type) {
      using A = decltype(type);
      const auto a = rows_of<const A>(x), b = rows_of<const A>(branch);
      const auto total = rows_of<A>(sum), out = rows_of<A>(y);
      const A* weight = gain.ptr<A>();
      float* r = rstd ? rstd.ptr<float>() : nullptr;
      for_blocks(x.rows(), kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = begin; n < end; ++n) {
          add_row<A>(a[n], b[n], total[n], x.cols());
          norm_row<A>(total[n], weight, eps, out[n], r ? r + n : nullptr, x.cols());
        }
      });
    });
  });
}

void OpsImpl::rmsnorm_grad(Tensor dy, Tensor x, Tensor gain, Tensor rstd, Tensor dx, Tensor dgain, float beta,
                           Stream& s) {
  check_rmsnorm_grad(dy, x, gain, rstd, dx, dgain);
  const std::int64_t n = x.rows(), c = x.cols();
  const std::int64_t block = std::max(kRows, div_up(n, kGainBlocks));
  SHERD_CHECK(kGainBlocks * c <= workspace_.numel(), "rmsnorm_grad of {} columns", c);
  enqueue(s, "rmsnorm_grad", access({dy, x, gain, rstd}, {dx, dgain, workspace_}), [=, workspace = workspace_] {
    float* partial = workspace.ptr<float>();
    with_float_type(x.dtype, [&](auto type) {
      using A = decltype(type);
      const auto grad = rows_of<const A>(dy), in = rows_of<const A>(x);
      const auto out = rows_of<A>(dx);
      const A* weight = gain.ptr<A>();
      const float* r = rstd.ptr<float>();
      for_blocks(n, block, [&](std::int64_t begin, std::int64_t end) {
        float* mine = partial + begin / block * c;
        std::fill(mine, mine + c, 0.0f);
        for (std::int64_t i = begin; i < end; ++i) grad_row<A>(grad[i], in[i], weight, r[i], out[i], mine, c);
      });
    });
    with_float_type(dgain.dtype, [&](auto type) {
      using G = decltype(type);
      combine(partial, div_up(n, block), dgain.ptr<G>(), beta, c);
    });
  });
}

}  // namespace sherd::cpu
