// delta (B, H, T) = the row sums of dout out: the part of the softmax's gradient that a query's keys share (Dao,
// arXiv:2307.08691, algorithm 2). Bound by reading dout and out once.
#include "attention.cuh"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;

/// Grid: one warp per row of a head, all heads of a token side by side; block 128. Sums in f32; deterministic.
template <class A, int kN>
__global__ void __launch_bounds__(kThreads) delta_kernel(AttentionView<A> x, std::int64_t rows) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + warp_of_thread();
  if (row >= rows) return;  // the whole warp
  const std::int64_t n = row / x.query_heads;
  const int h = static_cast<int>(row % x.query_heads);
  const A *dout = x.dout[n] + static_cast<std::int64_t>(h) * x.dim,
          *out = x.out[n] + static_cast<std::int64_t>(h) * x.dim;
  float sum = 0;
  for (int j = lane_of_thread() * kN; j < x.dim; j += 32 * kN) {
    const Pack<A, kN> a = load<kN>(dout + j), b = load<kN>(out + j);
    for (int i = 0; i < kN; ++i) sum += to_f32(a.at[i]) * to_f32(b.at[i]);
  }
  sum = warp_sum(sum);
  if (lane_of_thread() == 0) x.delta[x.line(static_cast<int>(n / x.t), h) + n % x.t] = sum;
}

}  // namespace

void attention_delta(const AttentionCall& call, Stream& s) {
  const std::int64_t rows = call.shape.b * call.shape.t * call.shape.heads.query;
  Grid grid;
  grid.x = div_up(rows, kWarps);
  grid.threads = kThreads;
  with_float_type(call.qkv.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = 4;  // 32 lanes read a head of 128 at once
    const bool fits = packs(call.dout) && packs(call.out) && call.shape.heads.dim % kN == 0;
    launch(s, "attention_delta", fits ? &delta_kernel<A, kN> : &delta_kernel<A, 1>, grid, view_of<A>(call), rows);
  });
}

}  // namespace sherd::cuda
