// Rotary embedding, Su et al., arXiv:2104.09864, in Hugging Face's half-rotation layout: the pair of element j < D/2 is
// element j + D/2. Frequencies theta^(-2 j / D), scaled by Llama 3.1's rule when asked. In place: reads and writes the
// query and key heads once; 8 bytes of angles per pair come from L1 and L2, once for kHeads heads.
// Floor at N 8192, 64 heads of 128 (CodeLlama-7B), bf16, 3.35 TB/s (H100): 268 MB, 80 us; angles add 4 MB from L2 per
// token's first use. Goal 85%: 94 us. Measured share: unmeasured.
#include "elementwise.cuh"
#include "ops.hpp"
#include "report.cuh"
#include "sherd/ops/check.hpp"
#include "sherd/ops/rope_frequency.hpp"

namespace sherd::cuda {
namespace {

constexpr std::int64_t kMostPairs = 256;  // D / 2; the frequencies travel as a kernel's argument, of at most 4 KB
struct Frequencies {
  double at[kMostPairs];
};

/// table (P, D/2, 2) = cos, sin of p f(j), computed in f64 once per run. Grid: threads over (p, j).
__global__ void rope_table_kernel(Frequencies frequencies, float* table, std::int64_t positions, std::int64_t half) {
  for (std::int64_t i = global_thread(); i < positions * half; i += grid_threads()) {
    const double angle = static_cast<double>(i / half) * frequencies.at[i % half];
    table[2 * i] = static_cast<float>(cos(angle));
    table[2 * i + 1] = static_cast<float>(sin(angle));
  }
}

struct RopeShape {
  std::int64_t tokens;
  int length, heads, half;  // T, H + K, D / 2
  int positions;            // P of the table
  int groups;               // threads that share the heads: kHeads of them each
  int tokens_of_block;      // 1 where a token has more packs than a block has threads
};

constexpr int kHeads = 2;  // of a thread: the angles are read once for them, and 4 packs are under way at once

/// A thread rotates kN pairs of the heads group, group + groups, ... of one token; sign -1 rotates back. Grid: x runs
/// of tokens_of_block tokens, y runs of the threads of a token. Deterministic; no sums.
template <class A, int kN>
__global__ void __launch_bounds__(kElementThreads)
    rope_kernel(Rows<A> qkv, const std::int32_t* __restrict__ doc_start, const float* __restrict__ table,
                RopeShape shape, float sign, Trouble* trouble) {
  const int packs_of_head = shape.half / kN, threads_of_token = shape.groups * packs_of_head;
  const int item = pack_of_row(), token = item / threads_of_token, i = item % threads_of_token;
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * shape.tokens_of_block + token;
  if (token >= shape.tokens_of_block || n >= shape.tokens) return;
  const int group = i / packs_of_head, j = i % packs_of_head * kN;
  const int position = static_cast<int>(n % shape.length) - doc_start[n];
  if (position < 0 || position >= shape.positions)
    return report(trouble, Trouble::position, position, n, shape.positions);
  float turn[2 * kN];
  load_f32<2 * kN>(turn, table + (static_cast<std::int64_t>(position) * shape.half + j) * 2);
  A* const low = qkv[n] + group * 2 * shape.half + j;
  const int next = shape.groups * 2 * shape.half;  // from one head of this thread to the next
  Pack<A, kN> a[kHeads], b[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h)
    if (group + h * shape.groups < shape.heads) {
      a[h] = load<kN>(low + h * next);
      b[h] = load<kN>(low + h * next + shape.half);
    }
#pragma unroll
  for (int h = 0; h < kHeads; ++h)
    if (group + h * shape.groups < shape.heads) {
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const float cosine = turn[2 * k], sine = sign * turn[2 * k + 1];
        const float x = to_f32(a[h].at[k]), y = to_f32(b[h].at[k]);
        a[h].at[k] = from_f32<A>(x * cosine - y * sine);
        b[h].at[k] = from_f32<A>(y * cosine + x * sine);
      }
      store<kN>(low + h * next, a[h]);
      store<kN>(low + h * next + shape.half, b[h]);
    }
}

}  // namespace

void OpsImpl::rope_table(const RopeConfig& config, Tensor table, Stream& s) {
  check_rope_table(table);
  const std::int64_t half = table.dim[1];
  SHERD_CHECK(half <= kMostPairs, "rope of head dim {}, at most {} here", 2 * half, 2 * kMostPairs);
  Frequencies frequencies{};
  for (std::int64_t j = 0; j < half; ++j) frequencies.at[j] = rope_frequency(config, j, half);
  launch(s, "rope_table", &rope_table_kernel, element_grid(table.numel() / 2), frequencies,
         reinterpret_cast<float*>(table.data), table.dim[0], table.dim[1]);
}

void OpsImpl::rope(Tensor qkv, Tensor doc_start, Tensor table, Heads heads, bool inverse, Stream& s) {
  check_rope(qkv, doc_start, table, heads);
  const std::int64_t half = heads.dim / 2, n = doc_start.numel(), turned = heads.query + heads.kv;
  with_float_type(qkv.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const bool fits = packs(qkv) && half % kN == 0 && reinterpret_cast<std::uintptr_t>(table.data) % 16 == 0;
    const std::int64_t groups = div_up(turned, kHeads), of_token = groups * half / (fits ? kN : 1);
    const std::int64_t tokens = std::max<std::int64_t>(1, kElementThreads / std::max<std::int64_t>(1, of_token));
    Grid grid;
    grid.x = div_up(n, tokens);
    grid.y = div_up(tokens * of_token, kElementThreads);
    grid.threads = kElementThreads;
    const RopeShape shape{n,
                          narrow<int>(doc_start.cols()),
                          narrow<int>(turned),
                          narrow<int>(half),
                          narrow<int>(table.dim[0]),
                          narrow<int>(groups),
                          narrow<int>(tokens)};
    launch(s, inverse ? "rope_inverse" : "rope", fits ? &rope_kernel<A, kN> : &rope_kernel<A, 1>, grid, rows_of<A>(qkv),
           reinterpret_cast<const std::int32_t*>(doc_start.data), reinterpret_cast<const float*>(table.data), shape,
           inverse ? -1.0f : 1.0f, trouble(s));
  });
}

}  // namespace sherd::cuda
