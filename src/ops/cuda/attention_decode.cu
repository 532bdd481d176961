// Attention of one new query per sequence against a cache: out = softmax(q k^T / sqrt(D)) v. Bound by reading the
// cache. 8 lanes share a key, so that a warp reads 4 keys at once and a block of 8 warps 32; each such group keeps a
// running softmax of its own, and the block merges the 32 of them at the end, in order (Dao et al., Flash-Decoding,
// 2023, within one block).
#include "attention.cuh"
#include "ops.hpp"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 256, kLanesOfKey = 8, kGroups = kThreads / kLanesOfKey;
constexpr int kAtOnce = 4;  // keys of a group under way: hides the latency of loads and shuffles
constexpr std::int64_t kMaxDim = 256;

template <class A>
struct Cache {
  Rows<const A> q, keys, values;  // (B, H D), (B P, K D), the same
  Rows<A> out;                    // (B, H D)
  int length, capacity, query_heads, kv_heads, dim;
  float scale;
};

/// A lane's part of a row of D: packs of kN, 8 lanes side by side.
template <int kPerLane, int kN, class A>
__device__ inline void load_part(const A* row, int dim, float (&part)[kPerLane]) {
#pragma unroll
  for (int c = 0; c < kPerLane / kN; ++c) {
    const int at = (c * kLanesOfKey + static_cast<int>(threadIdx.x) % kLanesOfKey) * kN;
    Pack<A, kN> pack{};
    if (at < dim) pack = load<kN>(row + at);
#pragma unroll
    for (int i = 0; i < kN; ++i) part[c * kN + i] = to_f32(pack.at[i]);
  }
}

/// One group's softmax over its keys: the largest score, the sum of e^(score - largest), and the lane's part of the
/// values weighted so.
template <int kPerLane>
struct Running {
  float top, sum, o[kPerLane];
};

/// The scores of keys `first`, `first` + kGroups, ...: -infinity beyond the length. Every lane of a group has them.
template <int kPerLane, int kN, class A>
__device__ inline void score_keys(const Cache<A>& x, Rows<const A> keys, const float (&q)[kPerLane], int first,
                                  float (&scores)[kAtOnce]) {
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    const int u = first + i * kGroups;
    float k[kPerLane], sum = 0;
    load_part<kPerLane, kN>(keys[u < x.length ? u : 0], x.dim, k);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) sum += q[j] * k[j];
    for (int offset = kLanesOfKey / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    scores[i] = u < x.length ? sum * x.scale : -INFINITY;
  }
}

template <int kPerLane, int kN, class A>
__device__ inline void add_values(const Cache<A>& x, Rows<const A> values, int first, const float (&scores)[kAtOnce],
                                  Running<kPerLane>& running) {
  float top = running.top;
  for (int i = 0; i < kAtOnce; ++i) top = fmaxf(top, scores[i]);
  const float base = top == -INFINITY ? 0.0f : top;  // a group that has no key yet
  const float shrink = expf(running.top - base);
  running.top = top;
  running.sum *= shrink;
  for (int j = 0; j < kPerLane; ++j) running.o[j] *= shrink;
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    const int u = first + i * kGroups;
    float v[kPerLane];
    load_part<kPerLane, kN>(values[u < x.length ? u : 0], x.dim, v);
    const float p = expf(scores[i] - base);
    running.sum += p;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) running.o[j] += p * v[j];
  }
}

/// out (D) = the groups' softmaxes as one. Shared memory: (kGroups, 8 kPerLane) parts of o, then tops, then sums.
template <int kPerLane, int kN, class A>
__device__ inline void merge(const Running<kPerLane>& running, A* out, int dim) {
  constexpr int kWidth = kLanesOfKey * kPerLane;
  float *const parts = dynamic_shared<float>(), *const tops = parts + kGroups * kWidth, *const sums = tops + kGroups;
  const int group = static_cast<int>(threadIdx.x) / kLanesOfKey, lane = static_cast<int>(threadIdx.x) % kLanesOfKey;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) parts[group * kWidth + (j / kN * kLanesOfKey + lane) * kN + j % kN] = running.o[j];
  if (lane == 0) {
    tops[group] = running.top;
    sums[group] = running.sum;
  }
  __syncthreads();
  float top = tops[0], sum = 0, o = 0;
  for (int g = 1; g < kGroups; ++g) top = fmaxf(top, tops[g]);
  const int column = static_cast<int>(threadIdx.x);
  if (column >= dim) return;
  for (int g = 0; g < kGroups; ++g) {
    const float weight = expf(tops[g] - top);
    sum += weight * sums[g];
    o += weight * parts[g * kWidth + column];
  }
  out[column] = from_f32<A>(o / sum);
}

/// Grid: one block per query head of each sequence; block 256; shared bytes: what merge() says. Sums in f32;
/// deterministic.
template <int kPerLane, int kN, class A>
__global__ void __launch_bounds__(kThreads) decode_kernel(Cache<A> x) {
  const int b = static_cast<int>(blockIdx.x) / x.query_heads, h = static_cast<int>(blockIdx.x) % x.query_heads;
  const std::int64_t begin = static_cast<std::int64_t>(b) * x.capacity, d = x.dim;
  const std::int64_t column = h / (x.query_heads / x.kv_heads) * d;
  const Rows<const A> keys{x.keys[begin] + column, x.keys.stride}, values{x.values[begin] + column, x.values.stride};
  float q[kPerLane];
  load_part<kPerLane, kN>(x.q[b] + h * d, x.dim, q);
  Running<kPerLane> running;
  running.top = -INFINITY;
  running.sum = 0;
  for (int j = 0; j < kPerLane; ++j) running.o[j] = 0;
  const int group = static_cast<int>(threadIdx.x) / kLanesOfKey;
  for (int first = 0; first < x.length; first += kGroups * kAtOnce) {  // every lane of a warp takes part in shuffles
    float scores[kAtOnce];
    score_keys<kPerLane, kN>(x, keys, q, first + group, scores);
    add_values<kPerLane, kN>(x, values, first + group, scores, running);
  }
  merge<kPerLane, kN>(running, x.out[b] + h * d, x.dim);
}

template <int kPerLane, class A>
void decode(const Cache<A>& cache, std::int64_t blocks, bool packed, Stream& s) {
  constexpr int kN = kPackOf<A>;
  Grid grid;
  grid.x = blocks;
  grid.threads = kThreads;
  grid.shared = kGroups * (kLanesOfKey * kPerLane + 2) * static_cast<std::int64_t>(sizeof(float));
  launch(s, "attention_decode", packed ? &decode_kernel<kPerLane, kN, A> : &decode_kernel<kPerLane, 1, A>, grid, cache);
}

}  // namespace

void OpsImpl::attention_decode(Tensor q, Tensor k_cache, Tensor v_cache, std::int64_t length, Heads heads, Tensor out,
                               Stream& s) {
  check_attention_decode(q, k_cache, v_cache, length, heads, out);
  const std::int64_t d = heads.dim, blocks = q.rows() * heads.query;
  if (d > kMaxDim)
    throw usage_error("decoding with heads of {}: the CUDA backend takes heads up to {}; use --device cpu", d, kMaxDim);
  const bool packed = packs(q) && packs(k_cache) && packs(v_cache) && d * static_cast<int>(size_of(q.dtype)) % 16 == 0;
  with_float_type(q.dtype, [&](auto type) {
    using A = decltype(type);
    const Cache<A> cache{rows_of<const A>(q),
                         rows_of<const A>(k_cache),
                         rows_of<const A>(v_cache),
                         rows_of<A>(out),
                         narrow<int>(length),
                         narrow<int>(k_cache.dim[1]),
                         narrow<int>(heads.query),
                         narrow<int>(heads.kv),
                         narrow<int>(d),
                         1.0f / std::sqrt(static_cast<float>(d))};
    if (d <= 64) {
      decode<8>(cache, blocks, packed, s);
    } else if (d <= 128) {
      decode<16>(cache, blocks, packed, s);
    } else {
      decode<32>(cache, blocks, packed, s);
    }
  });
}

}  // namespace sherd::cuda
