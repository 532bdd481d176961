// Rotary embedding, Su et al., arXiv:2104.09864, in Hugging Face's half-rotation layout: the pair of element j < D/2 is
// element j + D/2. Frequencies theta^(-2 j / D), scaled by Llama 3.1's rule when asked. In place: reads and writes the
// query and key heads once.
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
  std::int64_t tokens, length, heads, half;  // N, T, H + K, D / 2
  std::int64_t positions;                    // P of the table
};

/// A thread rotates kN pairs of one head of one token; sign -1 rotates back. Deterministic; no sums.
template <class A, int kN>
__global__ void rope_kernel(Rows<A> qkv, const std::int32_t* doc_start, const float* table, RopeShape shape, float sign,
                            Trouble* trouble) {
  const std::int64_t packs_per_head = shape.half / kN, packs_per_token = shape.heads * packs_per_head;
  for (std::int64_t i = global_thread(); i < shape.tokens * packs_per_token; i += grid_threads()) {
    const std::int64_t n = i / packs_per_token, head = i % packs_per_token / packs_per_head;
    const std::int64_t j = i % packs_per_head * kN, position = n % shape.length - doc_start[n];
    if (position < 0 || position >= shape.positions) {
      report(trouble, Trouble::position, position, n, shape.positions);
      continue;
    }
    A* const low = qkv[n] + head * 2 * shape.half + j;
    const float* const turn = table + (position * shape.half + j) * 2;
    Pack<A, kN> a = load<kN>(low), b = load<kN>(low + shape.half);
    for (int k = 0; k < kN; ++k) {
      const float cosine = turn[2 * k], sine = sign * turn[2 * k + 1];
      const float x = to_f32(a.at[k]), y = to_f32(b.at[k]);
      a.at[k] = from_f32<A>(x * cosine - y * sine);
      b.at[k] = from_f32<A>(y * cosine + x * sine);
    }
    store<kN>(low, a);
    store<kN>(low + shape.half, b);
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
  const std::int64_t half = heads.dim / 2, n = doc_start.numel();
  with_float_type(qkv.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const RopeShape shape{n, doc_start.cols(), heads.query + heads.kv, half, table.dim[0]};
    const bool fits = packs(qkv) && half % kN == 0;
    launch(s, inverse ? "rope_inverse" : "rope", fits ? &rope_kernel<A, kN> : &rope_kernel<A, 1>,
           element_grid(n * shape.heads * half / (fits ? kN : 1)), rows_of<A>(qkv),
           reinterpret_cast<const std::int32_t*>(doc_start.data), reinterpret_cast<const float*>(table.data), shape,
           inverse ? -1.0f : 1.0f, trouble(s));
  });
}

}  // namespace sherd::cuda
