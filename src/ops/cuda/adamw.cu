// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory: per element 16 bytes read and 12 or 14
// written, 4 less each way with moments in bf16. The gradient norm (4 bytes read per element, sums in f64) and the clip
// factor.
#include <bit>

#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"
#include "sherd/ops/rounding.hpp"

namespace sherd::cuda {
namespace {

constexpr int kRunsPerLaunch = 64;  // runs travel as a kernel's argument, of at most 4 KB
struct Runs {
  DecayRun at[kRunsPerLaunch];
};
struct Scalars {
  const float *lr, *correction1, *correction2, *clip;
  const std::uint32_t* rounding_key;  // (2); null with moments in f32
};

/// The state as typed elements; M is float or bf16.
template <class M>
struct Vectors {
  float* master;
  M *m, *v;
  const float* grad;
  bf16* copy;  // null: parameters are stored in f32
};

constexpr int kGroup = kRoundingGroup;  // elements of a thread

/// Elements at to at + 3 of all vectors, as far as `inside` says that they are the run's.
template <class M>
struct Group {
  Pack<float, kGroup> master, grad;
  Pack<M, kGroup> m, v;
  Pack<bf16, kGroup> copy;
};
template <class M>
__device__ void load_group(const Vectors<M>& p, std::int64_t at, bool packed, unsigned inside, Group<M>& group) {
  if (packed) {
    group.master = load<kGroup>(p.master + at);
    group.grad = load<kGroup>(p.grad + at);
    group.m = load<kGroup>(p.m + at);
    group.v = load<kGroup>(p.v + at);
    return;
  }
  for (int j = 0; j < kGroup; ++j) {
    const bool own = (inside >> j & 1u) != 0;
    group.master.at[j] = own ? p.master[at + j] : 0.0f;
    group.grad.at[j] = own ? p.grad[at + j] : 0.0f;
    group.m.at[j] = own ? p.m[at + j] : M{};
    group.v.at[j] = own ? p.v[at + j] : M{};
  }
}
template <class M>
__device__ void store_group(const Vectors<M>& p, std::int64_t at, bool packed, unsigned inside, const Group<M>& group) {
  if (packed) {
    store<kGroup>(p.master + at, group.master);
    store<kGroup>(p.m + at, group.m);
    store<kGroup>(p.v + at, group.v);
    if (p.copy != nullptr) store<kGroup>(p.copy + at, group.copy);
    return;
  }
  for (int j = 0; j < kGroup; ++j) {
    if ((inside >> j & 1u) == 0) continue;
    p.master[at + j] = group.master.at[j];
    p.m[at + j] = group.m.at[j];
    p.v[at + j] = group.v.at[j];
    if (p.copy != nullptr) p.copy[at + j] = group.copy.at[j];
  }
}

/// f32 as it is; bf16 rounded by 16 random bits.
template <class M>
__device__ M stored(float x, [[maybe_unused]] std::uint32_t random) {
  if constexpr (sizeof(M) == sizeof(float)) {
    return x;
  } else {
    M out;
    out.bits = round_stochastically(std::bit_cast<std::uint32_t>(x), random);
    return out;
  }
}

/// Grid: y the run, x over its groups of four elements of the parameter, which share a draw: packs of 16 bytes (8 of
/// bf16), wherever the shard holds a whole group where packs may lie (aligned). Deterministic; no sums.
template <class M>
__global__ void adamw_kernel(Vectors<M> p, bool aligned, Runs runs, AdamWHyper hyper, Scalars scalars) {
  const DecayRun run = runs.at[blockIdx.y];
  const float lr = *scalars.lr, clip = *scalars.clip, keep = 1.0f - lr * run.decay;
  const float rate = lr / *scalars.correction1, root = 1.0f / sqrtf(*scalars.correction2);
  PhiloxKey key{{0, 0}, run.name_hash};
  if (sizeof(M) < sizeof(float)) key.key = {scalars.rounding_key[0], scalars.rounding_key[1]};
  const auto before = static_cast<std::int64_t>(run.first % kGroup);  // elements of the first group that others hold
  const std::int64_t end = before + run.count, origin = run.begin - before;
  for (std::int64_t i = global_thread(); i * kGroup < end; i += grid_threads()) {
    unsigned inside = 0;
    for (int j = 0; j < kGroup; ++j)
      if (i * kGroup + j >= before && i * kGroup + j < end) inside |= 1u << j;
    const std::int64_t at = origin + i * kGroup;
    const bool packed = aligned && inside == 15u && at % kGroup == 0;
    std::array<std::uint32_t, 4> words{};
    if constexpr (sizeof(M) < sizeof(float)) words = key.draw(run.first / kGroup + static_cast<std::uint64_t>(i));
    Group<M> e;
    load_group(p, at, packed, inside, e);
    for (int j = 0; j < kGroup; ++j) {
      const float g = clip * e.grad.at[j], was = to_f32(e.m.at[j]);
      const float m = was + (1.0f - hyper.beta1) * (g - was);
      const float v = hyper.beta2 * to_f32(e.v.at[j]) + (1.0f - hyper.beta2) * g * g;
      const float w = keep * e.master.at[j] - rate * m / (sqrtf(v) * root + hyper.eps);
      e.m.at[j] = stored<M>(m, bits_for_m(words[static_cast<std::size_t>(j)]));
      e.v.at[j] = stored<M>(v, bits_for_v(words[static_cast<std::size_t>(j)]));
      e.master.at[j] = w;
      e.copy.at[j] = from_f32<bf16>(w);
    }
    store_group(p, at, packed, inside, e);
  }
}

constexpr std::int64_t kNormBlocks = 1024;  // fixed, so that bits do not depend on the device

/// parts (gridDim.x) f64 = sums of squares, each over a run of `each` elements of x (n). Shared: 32 doubles.
template <class T>
__global__ void squares_kernel(const T* x, std::int64_t n, std::int64_t each, double* parts) {
  const std::int64_t begin = blockIdx.x * each, end = begin + each < n ? begin + each : n;
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double value = to_f32(x[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// out (1) += the sum of parts (count). One block.
__global__ void add_parts_kernel(const double* parts, std::int64_t count, float* out) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out = static_cast<float>(*out + sum);
}

/// One thread: a square root, a quotient.
__global__ void clip_kernel(const float* squares, float max_norm, float* norm, float* factor) {
  const float length = sqrtf(*squares), wanted = max_norm / (length + 1e-6f);
  *norm = length;
  *factor = max_norm > 0 && wanted < 1.0f ? wanted : 1.0f;
}

float* floats(const Tensor& t) {
  return reinterpret_cast<float*>(t.data);
}

}  // namespace

void OpsImpl::adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                    const AdamWScalars& scalars, Stream& s) {
  check_adamw(state, runs, scalars);
  bool aligned = true;
  for (const Tensor& t : {state.master, state.m, state.v, state.grad, state.copy})
    aligned = aligned && reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0;
  const Scalars at{floats(scalars.lr), floats(scalars.correction1), floats(scalars.correction2), floats(scalars.clip),
                   reinterpret_cast<const std::uint32_t*>(scalars.rounding_key.data)};
  while (!runs.empty()) {
    const std::size_t count = std::min<std::size_t>(runs.size(), kRunsPerLaunch);
    Runs some{};
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      some.at[i] = runs[i];
      longest = std::max(longest, runs[i].count);
    }
    Grid grid = element_grid(div_up(longest, kGroup) + 1);  // a run may begin and end within a group
    grid.y = static_cast<std::int64_t>(count);
    with_float_type(state.m.dtype, [&](auto type) {
      using M = decltype(type);
      const Vectors<M> vectors{floats(state.master), reinterpret_cast<M*>(state.m.data),
                               reinterpret_cast<M*>(state.v.data), floats(state.grad),
                               reinterpret_cast<bf16*>(state.copy.data)};
      launch(s, "adamw", &adamw_kernel<M>, grid, vectors, aligned, some, hyper, at);
    });
    runs = runs.subspan(count);
  }
}

void OpsImpl::squared_norm(Tensor x, Tensor out, Stream& s) {
  check_squared_norm(x, out);
  const std::int64_t n = x.numel(), each = std::max<std::int64_t>(4096, div_up(n, kNormBlocks)),
                     count = div_up(n, each);
  auto* const parts = reinterpret_cast<double*>(scratch_.data);
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(s, "squared_norm", &squares_kernel<T>, Grid{count}, reinterpret_cast<const T*>(x.data), n, each, parts);
  });
  launch(s, "squared_norm", &add_parts_kernel, Grid{1}, static_cast<const double*>(parts), count, floats(out));
}

void OpsImpl::clip_factor(Tensor squares, float max_norm, Tensor norm, Tensor factor, Stream& s) {
  check_clip_factor(squares, norm, factor);
  launch(s, "clip_factor", &clip_kernel, Grid{1, 1, 1, 1}, static_cast<const float*>(floats(squares)), max_norm,
         floats(norm), floats(factor));
}

}  // namespace sherd::cuda
