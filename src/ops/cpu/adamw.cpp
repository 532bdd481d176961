// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory; the gradient norm and the clip factor.
#include <cmath>
#include <vector>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kBlock = 8192;

/// The factors of one step, computed once.
struct Factors {
  float beta1, beta2, eps, clip, keep /* 1 - lr decay */, rate /* lr / c1 */, root /* 1 / sqrt(c2) */;
};

void update(const Factors& f, std::int64_t begin, std::int64_t end, const float* grad, float* p, float* m, float* v,
            bf16* copy) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    const float g = f.clip * grad[i];
    m[i] = m[i] + (1.0f - f.beta1) * (g - m[i]);
    v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * g * g;
    p[i] = f.keep * p[i] - f.rate * m[i] / (std::sqrt(v[i]) * f.root + f.eps);
  }
  if (!copy) return;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) copy[i] = from_f32<bf16>(p[i]);
}

template <class T>
double sum_of_squares(const T* x, std::int64_t begin, std::int64_t end) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = begin; i < end; ++i) {
    const double value = to_f32(x[i]);
    sum += value * value;
  }
  return sum;
}

}  // namespace

void OpsImpl::adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                    const AdamWScalars& scalars, Stream& s) {
  check_adamw(state, runs, scalars);
  Access touched = access({state.grad, scalars.lr, scalars.correction1, scalars.correction2, scalars.clip},
                          {state.master, state.m, state.v, state.copy});
  enqueue(s, "adamw", std::move(touched), [=, runs = std::vector(runs.begin(), runs.end())] {
    const float lr = *scalars.lr.ptr<float>();
    Factors f{hyper.beta1,
              hyper.beta2,
              hyper.eps,
              *scalars.clip.ptr<float>(),
              1.0f,
              lr / *scalars.correction1.ptr<float>(),
              1.0f / std::sqrt(*scalars.correction2.ptr<float>())};
    for (const DecayRun& run : runs) {
      f.keep = 1.0f - lr * run.decay;
      for_blocks(run.count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        update(f, run.begin + begin, run.begin + end, state.grad.ptr<float>(), state.master.ptr<float>(),
               state.m.ptr<float>(), state.v.ptr<float>(), state.copy ? state.copy.ptr<bf16>() : nullptr);
      });
    }
  });
}

void OpsImpl::squared_norm(Tensor x, Tensor out, Stream& s) {
  check_squared_norm(x, out);
  enqueue(s, "squared_norm", access({x}, {out}), [x, out] {
    const std::int64_t n = x.numel(), block = std::max<std::int64_t>(2 * kBlock, div_up(n, 4096));
    std::vector<double> partial(static_cast<std::size_t>(div_up(n, block)));
    with_float_type(x.dtype, [&](auto type) {
      const auto* data = x.ptr<decltype(type)>();
      for_blocks(n, block, [&](std::int64_t begin, std::int64_t end) {
        partial[static_cast<std::size_t>(begin / block)] = sum_of_squares(data, begin, end);
      });
    });
    double sum = 0;
    for (double p : partial) sum += p;
    *out.ptr<float>() = static_cast<float>(*out.ptr<float>() + sum);
  });
}

void OpsImpl::clip_factor(Tensor squares, float max_norm, Tensor norm, Tensor factor, Stream& s) {
  check_clip_factor(squares, norm, factor);
  enqueue(s, "clip_factor", access({squares}, {norm, factor}), [=] {
    const float length = std::sqrt(*squares.ptr<float>());
    *norm.ptr<float>() = length;
    *factor.ptr<float>() = max_norm > 0 ? std::min(1.0f, max_norm / (length + 1e-6f)) : 1.0f;
  });
}

}  // namespace sherd::cpu
