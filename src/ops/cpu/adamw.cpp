// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory; the gradient norm and the clip factor.
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"
#include "sherd/ops/rounding.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kBlock = 8192;
constexpr std::int64_t kDrawn = 1024;  // elements whose random words are drawn at once: they stay in the first cache

/// The factors of one step, computed once.
struct Factors {
  float beta1, beta2, eps, clip, keep /* 1 - lr decay */, rate /* lr / c1 */, root /* 1 / sqrt(c2) */;
};

/// The state as typed elements; M is float or bf16.
template <class M>
struct Vectors {
  const float* grad;
  float* master;
  M *m, *v;
  bf16* copy;  // null: parameters are stored in f32
  explicit Vectors(const AdamWState& state)
      : grad(state.grad.ptr<float>()),
        master(state.master.ptr<float>()),
        m(state.m.ptr<M>()),
        v(state.v.ptr<M>()),
        copy(state.copy ? state.copy.ptr<bf16>() : nullptr) {}
};

/// f32 as it is; bf16 rounded by 16 random bits.
template <class M>
M stored(float x, [[maybe_unused]] std::uint32_t random) {
  if constexpr (sizeof(M) == sizeof(float)) {
    return x;
  } else {
    M out;
    out.bits = round_stochastically(std::bit_cast<std::uint32_t>(x), random);
    return out;
  }
}

/// Elements [begin, end); `words` has one for each when moments are bf16.
template <class M>
void update(const Factors& f, std::int64_t begin, std::int64_t end, const Vectors<M>& at,
            [[maybe_unused]] const std::uint32_t* words) {
  const auto [grad, p, first, second, copy] = at;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    const float g = f.clip * grad[i], was = to_f32(first[i]);
    const float m = was + (1.0f - f.beta1) * (g - was);
    const float v = f.beta2 * to_f32(second[i]) + (1.0f - f.beta2) * g * g;
    p[i] = f.keep * p[i] - f.rate * m / (std::sqrt(v) * f.root + f.eps);
    std::uint32_t word = 0;
    if constexpr (sizeof(M) < sizeof(float)) word = words[i - begin];
    first[i] = stored<M>(m, bits_for_m(word));
    second[i] = stored<M>(v, bits_for_v(word));
  }
  if (!copy) return;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) copy[i] = from_f32<bf16>(p[i]);
}

/// The words of elements first to first + count - 1: at words + first % kRoundingGroup. Whole groups are written. GCC
/// 12 vectorises this loop as it is, and under `omp simd` only parts of its body (three times as slow).
void draw(PhiloxKey key, std::uint64_t first, std::int64_t count, std::uint32_t* words) {
  const std::uint64_t group = first / kRoundingGroup;
  const std::uint64_t groups = (first + static_cast<std::uint64_t>(count) - 1) / kRoundingGroup - group + 1;
  for (std::uint64_t i = 0; i < groups; ++i) {
    const std::array<std::uint32_t, kRoundingGroup> drawn = key.draw(group + i);
    for (std::uint64_t j = 0; j < kRoundingGroup; ++j) words[i * kRoundingGroup + j] = drawn[j];
  }
}

/// Elements [begin, end) of a run.
void update_run(const Factors& f, const DecayRun& run, std::int64_t begin, std::int64_t end, const AdamWState& state,
                const Tensor& rounding_key) {
  if (state.m.dtype == DType::f32)
    return update<float>(f, run.begin + begin, run.begin + end, Vectors<float>(state), {});
  const std::span<const std::int32_t> bits = rounding_key.as<std::int32_t>();
  const PhiloxKey key{{static_cast<std::uint32_t>(bits[0]), static_cast<std::uint32_t>(bits[1])}, run.name_hash};
  const Vectors<bf16> at(state);
  std::array<std::uint32_t, kDrawn + 2 * kRoundingGroup> words;
  for (std::int64_t i = begin; i < end; i += kDrawn) {
    const std::int64_t count = std::min(kDrawn, end - i);
    const std::uint64_t first = run.first + static_cast<std::uint64_t>(i);
    draw(key, first, count, words.data());
    update<bf16>(f, run.begin + i, run.begin + i + count, at, words.data() + first % kRoundingGroup);
  }
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
  Access touched =
      access({state.grad, scalars.lr, scalars.correction1, scalars.correction2, scalars.clip, scalars.rounding_key},
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
        update_run(f, run, begin, end, state, scalars.rounding_key);
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
