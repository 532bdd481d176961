// Embedding: rows of a table by token, and the gradient, summed in f32 per token in token order, without sorting and
// without atomics: the block of a token's first place looks for its other places and sums their rows.
#include "elementwise.cuh"
#include "ops.hpp"
#include "reduce.cuh"
#include "report.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

/// One block per token; 1 read, 1 written per element.
template <class A, int kN>
__global__ void embedding_kernel(const std::int32_t* tokens, Rows<const A> table, Rows<A> out, std::int64_t v,
                                 std::int64_t c, Trouble* trouble) {
  const std::int64_t n = blockIdx.x, token = tokens[n];
  if (token < 0 || token >= v) {
    if (threadIdx.x == 0) report(trouble, Trouble::token, token, n, v);
    return;
  }
  for (std::int64_t i = threadIdx.x * kN; i < c; i += static_cast<std::int64_t>(blockDim.x) * kN)
    store<kN>(out[n] + i, load<kN>(table[token] + i));
}

constexpr int kThreads = 128;  // of a block of the gradient: 4 warps

/// Whether any thread of the block says so. Every thread calls it.
__device__ bool any_of_block(bool mine) {
  return block_sum(mine ? 1 : 0) > 0;
}

/// dtable (V, C) += the rows of dout (N, C), per token in the order of their places. Grid: x the place n, y the run of
/// kThreads kN columns. Blocks whose token stands before n end at once: a search over at most n tokens, from L2, in
/// steps of kThreads. The others read tokens n .. N - 1 in tiles and add the rows of the tile's places in order.
/// Shared: a tile of tokens. f32 sums, each in one thread; deterministic.
template <class A, class G, int kN>
__global__ void __launch_bounds__(kThreads)
    embedding_grad_kernel(Rows<const A> dout, const std::int32_t* __restrict__ tokens, Rows<G> dtable, std::int64_t n,
                          std::int64_t v, std::int64_t c, Trouble* trouble) {
  __shared__ std::int32_t tile[kThreads];
  const std::int64_t place = blockIdx.x;
  const std::int32_t token = tokens[place];
  if (token < 0 || token >= v) {
    if (threadIdx.x == 0) report(trouble, Trouble::token, token, place, v);
    return;
  }
  for (std::int64_t end = place; end > 0; end -= kThreads) {  // backwards: a frequent token is found soon
    const std::int64_t i = end - 1 - static_cast<std::int64_t>(threadIdx.x);
    if (any_of_block(i >= 0 && tokens[i] == token)) return;
  }
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kN;
  float sum[kN] = {};
  for (std::int64_t begin = place; begin < n; begin += kThreads) {
    __syncthreads();  // the tile before has been read
    const std::int64_t i = begin + threadIdx.x;
    tile[threadIdx.x] = i < n ? tokens[i] : -1;
    __syncthreads();
    if (column >= c) continue;
    for (int j = 0; j < kThreads; ++j) {
      if (tile[j] != token) continue;
      const Pack<A, kN> row = load<kN>(dout[begin + j] + column);
      for (int k = 0; k < kN; ++k) sum[k] += to_f32(row.at[k]);
    }
  }
  if (column >= c) return;
  G* const to = dtable[token] + column;
  for (int k = 0; k < kN; ++k) to[k] = from_f32<G>(to_f32(to[k]) + sum[k]);
}

}  // namespace

void OpsImpl::embedding(Tensor tokens, Tensor table, Tensor out, Stream& s) {
  check_embedding(tokens, table, out);
  const std::int64_t n = tokens.numel(), c = table.cols();
  with_float_type(table.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const bool fits = packs(table) && packs(out);
    const Grid grid{n, 1, 1, narrow<int>(std::min<std::int64_t>(256, round_up(div_up(c, fits ? kN : 1), 32)))};
    launch(s, "embedding", fits ? &embedding_kernel<A, kN> : &embedding_kernel<A, 1>, grid,
           reinterpret_cast<const std::int32_t*>(tokens.data), rows_of<const A>(table), rows_of<A>(out), table.rows(),
           c, trouble(s));
  });
}

void OpsImpl::embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream& s) {
  check_embedding_grad(dout, tokens, dtable);
  const std::int64_t n = tokens.numel(), c = dtable.cols();
  with_float_type(dout.dtype, [&](auto a) {
    with_float_type(dtable.dtype, [&](auto g) {
      using A = decltype(a);
      using G = decltype(g);
      constexpr int kN = kPackOf<A>;
      const bool fits = packs(dout) && c % kN == 0;
      const Grid grid{n, div_up(c, kThreads * (fits ? kN : 1)), 1, kThreads};
      launch(s, "embedding_grad", fits ? &embedding_grad_kernel<A, G, kN> : &embedding_grad_kernel<A, G, 1>, grid,
             rows_of<const A>(dout), reinterpret_cast<const std::int32_t*>(tokens.data), rows_of<G>(dtable), n,
             dtable.rows(), c, trouble(s));
    });
  });
}

}  // namespace sherd::cuda
