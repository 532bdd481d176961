// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory; the gradient norm and the clip factor.
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"
#include "sherd/ops/eight_bit.hpp"
#include "sherd/ops/rounding.hpp"
#include "sherd/ops/split_master.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kBlock = 8192;
constexpr std::int64_t kDrawn = 1024;  // elements whose random words are drawn at once: they stay in the first cache

/// The factors of one step, computed once.
struct Factors {
  float beta1, beta2, eps, clip, keep /* 1 - lr decay */, rate /* lr / c1 */, root /* 1 / sqrt(c2) */;
};

/// A run of the state's elements. M of moments and G of gradients: float or bf16.
template <class M, class G>
struct Slice {
  const G* grad;
  float* master;  // null: split into copy and rest
  std::int16_t* rest;
  M *m, *v;
  bf16* copy;  // null: parameters are stored in f32
};
template <class T>
T* from(const Tensor& t, std::int64_t at) {
  return t ? t.ptr<T>() + at : nullptr;
}
/// The elements from `at` on, with moments that lie at m and v.
template <class M, class G>
Slice<M, G> slice(const AdamWState& state, std::int64_t at, M* m, M* v) {
  return {state.grad.ptr<G>() + at,  from<float>(state.master, at), from<std::int16_t>(state.rest, at), m, v,
          from<bf16>(state.copy, at)};
}

/// `count` elements; `words` has one for each when moments are bf16.
template <bool kSplit, class M, class G>
void update(const Factors& f, std::int64_t count, const Slice<M, G>& at, [[maybe_unused]] const std::uint32_t* words) {
  const G* const grad = at.grad;
  float* const p = at.master;
  std::int16_t* const rest = at.rest;
  M *const first = at.m, *const second = at.v;
  bf16* const copy = at.copy;
  SHERD_CHECK(kSplit ? rest != nullptr && copy != nullptr : p != nullptr, "masters that are neither whole nor split");
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = f.clip * to_f32(grad[i]), was = to_f32(first[i]);
    const float m = was + (1.0f - f.beta1) * (g - was);
    const float v = f.beta2 * to_f32(second[i]) + (1.0f - f.beta2) * g * g;
    float w = 0;
    if constexpr (kSplit)
      w = std::bit_cast<float>(join_master(copy[i].bits, rest[i]));
    else
      w = p[i];
    w = f.keep * w - f.rate * m / (std::sqrt(v) * f.root + f.eps);
    if constexpr (kSplit) {
      const auto bits = std::bit_cast<std::uint32_t>(w);
      copy[i].bits = master_high(bits);
      rest[i] = master_rest(bits, copy[i].bits);
    } else {
      p[i] = w;
    }
    std::uint32_t word = 0;
    if constexpr (sizeof(M) < sizeof(float)) word = words[i];
    first[i] = stored_moment<M>(m, bits_for_m(word));
    second[i] = stored_moment<M>(v, bits_for_v(word));
  }
  if (kSplit || !copy) return;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) copy[i] = from_f32<bf16>(p[i]);
}
template <class M, class G>
void update(const Factors& f, std::int64_t count, const Slice<M, G>& at, const std::uint32_t* words) {
  at.rest != nullptr ? update<true>(f, count, at, words) : update<false>(f, count, at, words);
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

PhiloxKey key_of_run(const DecayRun& run, const Tensor& rounding_key) {
  const std::span<const std::int32_t> bits = rounding_key.as<std::int32_t>();
  return {{static_cast<std::uint32_t>(bits[0]), static_cast<std::uint32_t>(bits[1])}, run.name_hash};
}

/// Elements [begin, end) of a run.
template <class G>
void update_run(const Factors& f, const DecayRun& run, std::int64_t begin, std::int64_t end, const AdamWState& state,
                const Tensor& rounding_key) {
  if (state.m.dtype == DType::f32) {
    const std::int64_t at = run.begin + begin;
    return update(f, end - begin, slice<float, G>(state, at, state.m.ptr<float>() + at, state.v.ptr<float>() + at), {});
  }
  const PhiloxKey key = key_of_run(run, rounding_key);
  std::array<std::uint32_t, kDrawn + 2 * kRoundingGroup> words;
  for (std::int64_t i = begin; i < end; i += kDrawn) {
    const std::int64_t count = std::min(kDrawn, end - i), at = run.begin + i;
    const std::uint64_t first = run.first + static_cast<std::uint64_t>(i);
    draw(key, first, count, words.data());
    update(f, count, slice<bf16, G>(state, at, state.m.ptr<bf16>() + at, state.v.ptr<bf16>() + at),
           words.data() + first % kRoundingGroup);
  }
}

/// The moments of one block, as the arithmetic wants them.
struct MomentBlock {
  std::array<float, kMomentBlock> m{}, v{};
  std::array<std::uint32_t, kMomentBlock> words{};
};

void decode(const AdamWState& state, std::int64_t begin, std::int64_t count, MomentBlock& block) {
  const auto *m = state.m.ptr<std::uint8_t>() + begin, *v = state.v.ptr<std::uint8_t>() + begin;
  const float* const scale = state.scales.ptr<float>() + 2 * (begin / kMomentBlock);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const float size = scale[0] * decode_moment(m[i] & ~kSignOfM, kTopOfM);
    block.m[static_cast<std::size_t>(i)] = m[i] >= kSignOfM ? -size : size;
    block.v[static_cast<std::size_t>(i)] = scale[1] * decode_moment(v[i], kTopOfV);
  }
}

/// The largest magnitude of x (128); what is not finite counts as larger than all else, and NaN as the largest.
float largest(const std::array<float, kMomentBlock>& x) {
  std::uint32_t top = 0;
  for (const float value : x) top = std::max(top, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  return std::bit_cast<float>(top);
}

void encode(const AdamWState& state, std::int64_t begin, std::int64_t count, const MomentBlock& block) {
  auto *const m = state.m.ptr<std::uint8_t>() + begin, *const v = state.v.ptr<std::uint8_t>() + begin;
  float* const scale = state.scales.ptr<float>() + 2 * (begin / kMomentBlock);
  scale[0] = moment_scale(largest(block.m));
  scale[1] = moment_scale(largest(block.v));
  const float per_m = fraction_of_scale(scale[0]), per_v = fraction_of_scale(scale[1]);
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const float x = block.m[at];
    const std::uint32_t code = encode_moment(std::abs(x) * per_m, kTopOfM, spread_random(bits_for_m(block.words[at])));
    m[i] = static_cast<std::uint8_t>(x < 0 ? code | kSignOfM : code);
    v[i] = static_cast<std::uint8_t>(
        encode_second_moment(block.v[at] * per_v, spread_random(bits_for_v(block.words[at]))));
  }
}

/// Blocks [first, last) of 128 elements, whatever runs they are of.
template <class G>
void update_blocks(Factors f, float lr, std::span<const DecayRun> runs, std::int64_t first, std::int64_t last,
                   const AdamWState& state, const Tensor& rounding_key) {
  std::array<std::uint32_t, kMomentBlock + 2 * kRoundingGroup> drawn;
  for (std::int64_t b = first; b < last; ++b) {
    const std::int64_t begin = b * kMomentBlock, end = std::min(begin + kMomentBlock, state.m.numel());
    MomentBlock block;
    decode(state, begin, end - begin, block);
    for (const DecayRun& run : runs) {
      const std::int64_t from = std::max(begin, run.begin), to = std::min(end, run.begin + run.count);
      if (from >= to) continue;
      const auto at = static_cast<std::size_t>(from - begin);
      const std::uint64_t element = run.first + static_cast<std::uint64_t>(from - run.begin);
      draw(key_of_run(run, rounding_key), element, to - from, drawn.data());
      std::copy_n(drawn.data() + element % kRoundingGroup, to - from, block.words.data() + at);
      f.keep = 1.0f - lr * run.decay;
      update(f, to - from, slice<float, G>(state, from, block.m.data() + at, block.v.data() + at), {});
    }
    encode(state, begin, end - begin, block);
  }
}

/// All of a shard.
template <class G>
void update_all(Factors f, float lr, std::span<const DecayRun> runs, const AdamWState& state,
                const Tensor& rounding_key) {
  if (state.m.dtype == DType::u8) {
    constexpr std::int64_t kBlocks = kBlock / kMomentBlock;
    return for_blocks(div_up(state.m.numel(), kMomentBlock), kBlocks, [&](std::int64_t first, std::int64_t last) {
      update_blocks<G>(f, lr, runs, first, last, state, rounding_key);
    });
  }
  for (const DecayRun& run : runs) {
    f.keep = 1.0f - lr * run.decay;
    for_blocks(run.count, kBlock,
               [&](std::int64_t begin, std::int64_t end) { update_run<G>(f, run, begin, end, state, rounding_key); });
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
  const Access touched =
      access({state.grad, scalars.lr, scalars.correction1, scalars.correction2, scalars.clip, scalars.rounding_key},
             {state.master, state.rest, state.m, state.v, state.scales, state.copy});
  enqueue(s, "adamw", touched, [=, runs = std::vector(runs.begin(), runs.end())] {
    const float lr = *scalars.lr.ptr<float>();
    const Factors f{hyper.beta1,
                    hyper.beta2,
                    hyper.eps,
                    *scalars.clip.ptr<float>(),
                    1.0f,
                    lr / *scalars.correction1.ptr<float>(),
                    1.0f / std::sqrt(*scalars.correction2.ptr<float>())};
    with_float_type(state.grad.dtype,
                    [&](auto type) { update_all<decltype(type)>(f, lr, runs, state, scalars.rounding_key); });
  });
}

void OpsImpl::split_master(Tensor from, Tensor high, Tensor rest, Stream& s) {
  check_split_master(from, high, rest);
  enqueue(s, "split_master", access({from}, {high, rest}), [=] {
    const auto* in = from.ptr<float>();
    auto* upper = high.ptr<bf16>();
    auto* lower = rest.ptr<std::int16_t>();
    for_blocks(from.numel(), kBlock, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        const auto bits = std::bit_cast<std::uint32_t>(in[i]);
        upper[i].bits = master_high(bits);
        lower[i] = master_rest(bits, upper[i].bits);
      }
    });
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
