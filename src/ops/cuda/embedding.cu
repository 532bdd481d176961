// Embedding: rows of a table by token, and the gradient, summed in f32 per token in the order of its places, without
// atomics: places are sorted by counting, then one block sums a token's rows. N tokens, U different ones, C columns.
// Elements moved: forward N C read and written; backward N C and U C read, U C written, and 4 N^2 / 32 instructions of
// a warp for the sort. Floor at N 8192, C 4096, bf16, 3.35 TB/s (H100): forward 134 MB, 40 us; backward, U 2000, f32
// gradient, 133 MB, 40 us, and the sort 10 us. Goal 85%: 47 us; of 540 ms a step that is nothing. Measured share:
// unmeasured.
#include "elementwise.cuh"
#include "ops.hpp"
#include "report.cuh"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

/// One block per token.
template <class A, int kN>
__global__ void embedding_kernel(const std::int32_t* tokens, Rows<const A> table, Rows<A> out, std::int64_t v, int c,
                                 Trouble* trouble) {
  const std::int64_t n = blockIdx.x, token = tokens[n];
  if (token < 0 || token >= v) {
    if (threadIdx.x == 0) report(trouble, Trouble::token, token, n, v);
    return;
  }
  const int step = static_cast<int>(blockDim.x) * kN;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x) * kN; i < c; i += step) store<kN>(out[n] + i, load<kN>(table[token] + i));
}

constexpr int kSortWarps = 8;

/// Where each place stands when places are sorted by token, those of one token in their order: at the number of places
/// whose token is smaller, or equal and earlier. order (N) = the places in that order, sorted (N) their tokens. One
/// block per 32 places, a lane each; the warps share the tokens to compare with: N^2 comparisons, of integers. Shared:
/// 5 KiB.
__global__ void __launch_bounds__(kSortWarps * 32)
    sort_places_kernel(const std::int32_t* __restrict__ tokens, std::int32_t* order, std::int32_t* sorted, int n,
                       std::int64_t v, Trouble* trouble) {
  __shared__ __align__(16) std::int32_t tiles[kSortWarps][32];
  __shared__ int smaller[kSortWarps][32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int place = static_cast<int>(blockIdx.x) * 32 + lane;
  const std::int32_t token = place < n ? tokens[place] : 0;
  if (warp == 0 && (token < 0 || token >= v)) report(trouble, Trouble::token, token, place, v);
  int count = 0;
  for (int begin = warp * 32; begin < n; begin += kSortWarps * 32) {
    const int ready = begin + 32 <= n ? 32 : n - begin;
    __syncwarp();  // the tile before has been read
    if (lane < ready) tiles[warp][lane] = tokens[begin + lane];
    __syncwarp();
    if (ready == 32) {
#pragma unroll
      for (int j = 0; j < 32; ++j) {
        const std::int32_t other = tiles[warp][j];
        count += other < token || (other == token && begin + j < place);
      }
    } else {
      for (int j = 0; j < ready; ++j) {
        const std::int32_t other = tiles[warp][j];
        count += other < token || (other == token && begin + j < place);
      }
    }
  }
  smaller[warp][lane] = count;
  __syncthreads();
  if (warp > 0 || place >= n) return;
  for (int w = 1; w < kSortWarps; ++w) count += smaller[w][lane];
  order[count] = place;
  sorted[count] = token;
}

constexpr int kThreads = 128, kBatch = 8;  // rows under way at once

/// dtable (V, C) += the rows of dout (N, C), per token in the order of their places. Grid: x the places as sorted, y
/// the run of kThreads kN columns. The block of a token's first place sums all of its rows; the others end at once. f32
/// sums, each in one thread; deterministic.
template <class A, class G, int kN>
__global__ void __launch_bounds__(kThreads)
    embedding_grad_kernel(Rows<const A> dout, const std::int32_t* __restrict__ order,
                          const std::int32_t* __restrict__ sorted, Rows<G> dtable, int n, std::int64_t v, int c) {
  const int first = static_cast<int>(blockIdx.x), column = pack_of_row() * kN;
  const std::int32_t token = sorted[first];
  if (token < 0 || token >= v || column >= c || (first > 0 && sorted[first - 1] == token)) return;
  float sum[kN] = {};
  for (int begin = first; begin < n && sorted[begin] == token; begin += kBatch) {
    Pack<A, kN> rows[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k)
      rows[k] = begin + k < n && sorted[begin + k] == token ? load<kN>(dout[order[begin + k]] + column) : Pack<A, kN>{};
#pragma unroll
    for (int k = 0; k < kBatch; ++k)
#pragma unroll
      for (int j = 0; j < kN; ++j) sum[j] += to_f32(rows[k].at[j]);
  }
  float to[kN];
  load_f32<kN>(to, dtable[token] + column);
#pragma unroll
  for (int j = 0; j < kN; ++j) to[j] += sum[j];
  store_f32<kN>(dtable[token] + column, to);
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
           narrow<int>(c), trouble(s));
  });
}

void OpsImpl::embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream& s) {
  check_embedding_grad(dout, tokens, dtable);
  const std::int64_t n = tokens.numel(), c = dtable.cols();
  SHERD_CHECK(2 * n <= scratch_.numel(), "embedding_grad of {} tokens", n);
  auto *const order = reinterpret_cast<std::int32_t*>(scratch_.data), *const sorted = order + n;
  launch(s, "embedding_grad", &sort_places_kernel, Grid{div_up(n, 32), 1, 1, kSortWarps * 32},
         reinterpret_cast<const std::int32_t*>(tokens.data), order, sorted, narrow<int>(n), dtable.rows(), trouble(s));
  with_float_type(dout.dtype, [&](auto a) {
    with_float_type(dtable.dtype, [&](auto g) {
      using A = decltype(a);
      using G = decltype(g);
      constexpr int kN = kPackOf<A>;
      const bool fits = packs(dout) && packs(dtable) && c % kN == 0;
      const Grid grid{n, div_up(c, kThreads * (fits ? kN : 1)), 1, kThreads};
      launch(s, "embedding_grad", fits ? &embedding_grad_kernel<A, G, kN> : &embedding_grad_kernel<A, G, 1>, grid,
             rows_of<const A>(dout), static_cast<const std::int32_t*>(order), static_cast<const std::int32_t*>(sorted),
             rows_of<G>(dtable), narrow<int>(n), dtable.rows(), narrow<int>(c));
    });
  });
}

}  // namespace sherd::cuda
