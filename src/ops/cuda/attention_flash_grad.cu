// FlashAttention-2, Dao, arXiv:2307.08691, backward, on tensor cores, without atomics. P = e^(scores - lse), dV = P^T
// dO, dP = dO V^T, dS = P (dP - delta), dQ = dS K / sqrt(D), dK = dS^T Q / sqrt(D). Two passes, each of which makes P
// and dS anew (7 products instead of the paper's 5): one block owns a tile of keys and sums dK and dV over all queries
// that see it, in order; one owns a tile of queries and sums dQ over its keys. So every sum has one owner and one
// order.
//
// Both passes are one scheme. A warp keeps its 16 rows of two matrices in registers, as left operands: keys and values,
// or queries and dO. The other two travel through shared memory in tiles, two stages, so that one arrives while the
// other is used; a warp takes them in slabs, small enough that scores, dP and the sums stay in registers. With keys as
// rows, P^T and dS^T come out of their products just as the products with dO and Q want them.
#include "attention_flash.cuh"

namespace sherd::cuda {
namespace flash {
namespace {

/// Columns of P and dS at a time, as many as registers allow: at 128, operands and sums of dK and dV take 192 of 255.
template <int kDim>
constexpr int kSlab = kDim <= 64 ? 32 : 16;

/// Tiles of two matrices that travel together, in two stages.
template <int kDim>
struct Stages {
  bf16* memory;
  __device__ bf16* first(int stage) const { return memory + 2 * stage * kTileElements<kDim>; }
  __device__ bf16* second(int stage) const { return first(stage) + kTileElements<kDim>; }
  /// Starts to copy rows `row` .. of both.
  __device__ void fill(int stage, Rows<const bf16> a, Rows<const bf16> b, int row, int rows, int dim) const {
    copy_rows<kTile, kDim>(first(stage), a, row, rows, dim);
    copy_rows<kTile, kDim>(second(stage), b, row, rows, dim);
    commit_copies();
  }
  static constexpr std::int64_t bytes() { return 4 * kTileElements<kDim> * static_cast<std::int64_t>(sizeof(bf16)); }
};

/// This warp's 16 rows of a tile.
template <int kDim>
__device__ inline void load_rows(LeftOperand<kDim>& rows, const bf16* tile) {
#pragma unroll
  for (int d = 0; d < kDim; d += 16) load_left<kDim>(rows[d / 16], tile, warp_of_thread() * kRowsOfWarp, d);
}

/// sum (16, kSlab) = rows (16, D) times rows `row` .. of the tile, transposed.
template <int kDim>
__device__ inline void row_products(Accumulator<kSlab<kDim>>& sum, const LeftOperand<kDim>& rows, const bf16* tile,
                                    int row) {
  clear<kSlab<kDim>>(sum);
#pragma unroll
  for (int d = 0; d < kDim; d += 16)
#pragma unroll
    for (int u = 0; u < kSlab<kDim>; u += 16) {
      std::uint32_t b[4];
      load_right_transposed<kDim>(b, tile, row + u, d);
      multiply_add(sum[u / 8], sum[u / 8 + 1], rows[d / 16], b);
    }
}

/// What the gradient needs of one query; a query that is not there gets weights of zero.
struct QueryFacts {
  float lse, delta;  // lse in base 2
};
__device__ inline QueryFacts facts_of(const AttentionView<bf16>& x, std::int64_t line, int t) {
  if (t >= x.t) return {INFINITY, 0.0f};
  return {x.lse[line + t] * kLog2E, x.delta[line + t]};
}

/// score becomes P, dp becomes dS.
__device__ inline void weigh(const QueryFacts& query, float factor, bool seen, float& score, float& dp) {
  score = seen ? exp2_approx(score * factor - query.lse) : 0.0f;
  dp = score * (dp - query.delta);
}

/// weigh() where rows are keys from `key` on and columns queries from `t` on. Whole: all queries see all keys.
template <int kDim>
__device__ inline void weigh_keys(const AttentionView<bf16>& x, const std::int32_t* starts, std::int64_t line, int key,
                                  int t, bool whole, Accumulator<kSlab<kDim>>& p, Accumulator<kSlab<kDim>>& ds) {
#pragma unroll
  for (int n = 0; n < kSlab<kDim> / 8; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = t + n * 8 + pair_of_lane() + i;
      const QueryFacts facts = facts_of(x, line, query);
      const int start = whole || query >= x.t ? 0 : starts[query];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int u = key + group_of_lane() + 8 * r;
        weigh(facts, x.scale * kLog2E, whole || (start <= u && u <= query), p[n][2 * r + i], ds[n][2 * r + i]);
      }
    }
}

/// weigh() where rows are queries from `t` on and columns keys from `key` on.
template <int kDim>
__device__ inline void weigh_queries(const QueryFacts (&facts)[2], const int (&starts)[2], float factor, int t, int key,
                                     bool whole, Accumulator<kSlab<kDim>>& p, Accumulator<kSlab<kDim>>& ds) {
#pragma unroll
  for (int n = 0; n < kSlab<kDim> / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int u = key + n * 8 + pair_of_lane() + i % 2, query = t + group_of_lane() + i / 2 * 8;
      weigh(facts[i / 2], factor, whole || (starts[i / 2] <= u && u <= query), p[n][i], ds[n][i]);
    }
}

/// A warp's keys and values, and their gradients.
template <int kDim>
struct KeyRows {
  LeftOperand<kDim> keys, values;
  Accumulator<kDim> dk, dv;  // dk lacks the factor 1 / sqrt(D)
  int key;                   // the first of them

  /// Adds what the queries t .. t + kTile - 1 of head h give.
  __device__ inline void add(const AttentionView<bf16>& x, int b, int h, int t, const QueriesSeeing& seeing,
                             const bf16* queries, const bf16* douts) {
#pragma unroll 1
    for (int row = 0; row < kTile; row += kSlab<kDim>) {
      const int first = t + row;
      if (first + kSlab<kDim> <= key || first >= seeing.end) continue;  // none of them sees any of these keys
      Accumulator<kSlab<kDim>> p, ds;
      row_products<kDim>(p, keys, queries, row);
      row_products<kDim>(ds, values, douts, row);
      const bool whole = first + 1 >= key + kRowsOfWarp && first + kSlab<kDim> <= seeing.whole;
      weigh_keys<kDim>(x, x.starts(b), x.line(b, h), key, first, whole, p, ds);
      add_weighted_rows<kDim, kSlab<kDim>>(dv, p, douts, row);
      add_weighted_rows<kDim, kSlab<kDim>>(dk, ds, queries, row);
    }
  }
};

/// Grid: one block per kTile keys of each key/value head; block 128; shared bytes: Stages. Sums in f32, head after head
/// of the group, in the order of the queries; deterministic.
template <int kDim>
__global__ void __launch_bounds__(kThreads) key_grad_kernel(AttentionView<bf16> x, int tiles) {
  const Stages<kDim> stages{dynamic_shared<bf16>()};
  const Share at = share_of_block(x.kv_heads, tiles);
  const int first = at.tile * kTile, first_head = at.head * x.group();
  const auto fill = [&](int stage, int h, int t) {
    stages.fill(stage, x.head(x.qkv, at.b, h), x.head(x.dout, at.b, h), t, x.t, x.dim);
  };
  stages.fill(1, x.head(x.qkv, at.b, x.key_head(at.head)), x.head(x.qkv, at.b, x.value_head(at.head)), first, x.t,
              x.dim);
  fill(0, first_head, first);
  const QueriesSeeing seeing = queries_seeing(x.starts(at.b), first, least(first + kTile, x.t), x.t);
  KeyRows<kDim> rows;
  rows.key = first + warp_of_thread() * kRowsOfWarp;
  wait_copies<1>();
  __syncthreads();  // keys and values have come
  load_rows<kDim>(rows.keys, stages.first(1));
  load_rows<kDim>(rows.values, stages.second(1));
  clear<kDim>(rows.dk);
  clear<kDim>(rows.dv);
  const int end_head = first_head + x.group();
  for (int h = first_head, t = first, stage = 0; h < end_head; stage = 1 - stage) {
    const bool more = t + kTile < seeing.end;
    const int next_h = more ? h : h + 1, next_t = more ? t + kTile : first;
    wait_copies<0>();
    __syncthreads();  // this stage has come, and the other has been read
    if (next_h < end_head) fill(1 - stage, next_h, next_t);
    if (rows.key < x.t) rows.add(x, at.b, h, t, seeing, stages.first(stage), stages.second(stage));
    h = next_h;
    t = next_t;
  }
  const float scale[2] = {x.scale, x.scale}, one[2] = {1, 1};
  store_rows<kDim>(rows.dk, scale, x.head(x.dqkv, at.b, x.key_head(at.head)), rows.key, x.t, x.dim);
  store_rows<kDim>(rows.dv, one, x.head(x.dqkv, at.b, x.value_head(at.head)), rows.key, x.t, x.dim);
}

/// A warp's queries and dO, and the gradient of the queries.
template <int kDim>
struct QueryRows {
  LeftOperand<kDim> queries, douts;
  Accumulator<kDim> dq;  // lacks the factor 1 / sqrt(D)
  QueryFacts facts[2];   // of rows group and group + 8
  int starts[2];
  int first, end;  // the warp's queries that exist

  __device__ inline void look_up(const AttentionView<bf16>& x, const Share& at, int t) {
    first = t + warp_of_thread() * kRowsOfWarp;
    end = least(first + kRowsOfWarp, x.t);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = first + group_of_lane() + 8 * r;
      facts[r] = facts_of(x, x.line(at.b, at.head), query);
      starts[r] = query < x.t ? x.starts(at.b)[query] : 0;
    }
  }

  /// Adds what the keys key .. key + kTile - 1 give; from `unbarred` on no document hides any.
  __device__ inline void add(const AttentionView<bf16>& x, int key, int unbarred, const bf16* keys,
                             const bf16* values) {
#pragma unroll 1
    for (int row = 0; row < kTile; row += kSlab<kDim>) {
      const int u = key + row;
      if (u >= end) break;  // none of the queries sees any of these keys
      Accumulator<kSlab<kDim>> p, ds;
      row_products<kDim>(p, queries, keys, row);
      row_products<kDim>(ds, douts, values, row);
      weigh_queries<kDim>(facts, starts, x.scale * kLog2E, first, u, u >= unbarred && u + kSlab<kDim> <= first + 1, p,
                          ds);
      add_weighted_rows<kDim, kSlab<kDim>>(dq, ds, keys, row);
    }
  }
};

/// Grid: one block per kTile queries of each head; block 128; shared bytes: Stages. Sums in f32 in the order of the
/// keys; deterministic.
template <int kDim>
__global__ void __launch_bounds__(kThreads) query_grad_kernel(AttentionView<bf16> x, int tiles) {
  const Stages<kDim> stages{dynamic_shared<bf16>()};
  const Share at = share_of_block_last_first(x.query_heads, tiles);
  const int t = at.tile * kTile, end = least(t + kTile, x.t), kv = at.head / x.group();
  const KeysSeen seen = keys_seen(x.starts(at.b), t, end);
  const auto fill = [&](int stage, int key) {
    stages.fill(stage, x.head(x.qkv, at.b, x.key_head(kv)), x.head(x.qkv, at.b, x.value_head(kv)), key, x.t, x.dim);
  };
  int key = seen.first / kTile * kTile, stage = 0;
  stages.fill(1, x.head(x.qkv, at.b, at.head), x.head(x.dout, at.b, at.head), t, x.t, x.dim);
  fill(0, key);
  QueryRows<kDim> rows;
  rows.look_up(x, at, t);
  wait_copies<1>();
  __syncthreads();  // queries and dO have come
  load_rows<kDim>(rows.queries, stages.first(1));
  load_rows<kDim>(rows.douts, stages.second(1));
  clear<kDim>(rows.dq);
  for (; key < end; key += kTile, stage = 1 - stage) {
    wait_copies<0>();
    __syncthreads();  // this stage has come, and the other has been read
    if (key + kTile < end) fill(1 - stage, key + kTile);
    if (rows.first < rows.end) rows.add(x, key, seen.whole, stages.first(stage), stages.second(stage));
  }
  const float scale[2] = {x.scale, x.scale};
  store_rows<kDim>(rows.dq, scale, x.head(x.dqkv, at.b, at.head), rows.first, x.t, x.dim);
}

}  // namespace
}  // namespace flash

void flash_attention_grad(const AttentionCall& call, Stream& s) {
  attention_delta(call, s);
  flash::with_dim(call.shape.heads.dim, [&](auto dim) {
    const int tiles = narrow<int>(div_up(call.shape.t, flash::kTile));
    Grid grid;
    grid.threads = flash::kThreads;
    grid.shared = flash::Stages<dim()>::bytes();
    grid.x = share_blocks(call.shape, call.shape.heads.kv, flash::kTile);
    launch(s, "attention_grad", &flash::key_grad_kernel<dim()>, grid, view_of<bf16>(call), tiles);
    grid.x = share_blocks(call.shape, call.shape.heads.query, flash::kTile);
    launch(s, "attention_grad", &flash::query_grad_kernel<dim()>, grid, view_of<bf16>(call), tiles);
  });
}

}  // namespace sherd::cuda
