// AdamW, Loshchilov & Hutter, arXiv:1711.05101, in one pass over memory: 16 bytes read and 12 or 14 written per
// element. The gradient norm (4 bytes read per element, sums in f64) and the clip factor.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

constexpr int kRunsPerLaunch = 64;  // runs travel as a kernel's argument, of at most 4 KB
struct Runs {
  DecayRun at[kRunsPerLaunch];
};
struct Vectors {
  float *master, *m, *v;
  const float* grad;
  bf16* copy;  // null: parameters are stored in f32
};
struct Scalars {
  const float *lr, *correction1, *correction2, *clip;
};

/// Grid: y the run, x over its elements, one at a time: a warp reads 128 bytes of each vector, which is whole lines.
/// Deterministic; no sums.
__global__ void adamw_kernel(Vectors p, Runs runs, AdamWHyper hyper, Scalars scalars) {
  const DecayRun run = runs.at[blockIdx.y];
  const float lr = *scalars.lr, clip = *scalars.clip, keep = 1.0f - lr * run.decay;
  const float rate = lr / *scalars.correction1, root = 1.0f / sqrtf(*scalars.correction2);
  for (std::int64_t i = run.begin + global_thread(); i < run.begin + run.count; i += grid_threads()) {
    const float g = clip * p.grad[i];
    const float m = p.m[i] + (1.0f - hyper.beta1) * (g - p.m[i]);
    const float v = hyper.beta2 * p.v[i] + (1.0f - hyper.beta2) * g * g;
    const float w = keep * p.master[i] - rate * m / (sqrtf(v) * root + hyper.eps);
    p.m[i] = m;
    p.v[i] = v;
    p.master[i] = w;
    if (p.copy != nullptr) p.copy[i] = from_f32<bf16>(w);
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
  const Vectors vectors{floats(state.master), floats(state.m), floats(state.v), floats(state.grad),
                        reinterpret_cast<bf16*>(state.copy.data)};
  const Scalars at{floats(scalars.lr), floats(scalars.correction1), floats(scalars.correction2), floats(scalars.clip)};
  while (!runs.empty()) {
    const std::size_t count = std::min<std::size_t>(runs.size(), kRunsPerLaunch);
    Runs some{};
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      some.at[i] = runs[i];
      longest = std::max(longest, runs[i].count);
    }
    Grid grid = element_grid(longest);
    grid.y = static_cast<std::int64_t>(count);
    launch(s, "adamw", &adamw_kernel, grid, vectors, some, hyper, at);
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
