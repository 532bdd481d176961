#pragma once
// What the attention kernels share: the call as they see it, a block's share of it, and which tiles see each other.
#include "attention.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "vector.cuh"

namespace sherd::cuda {

/// A call as kernels see it; trivially copyable. A head's rows are (T, D).
template <class A>
struct AttentionView {
  int t = 0, query_heads = 0, kv_heads = 0, dim = 0;
  float scale = 0;                          // 1 / sqrt(D)
  const std::int32_t* doc_start = nullptr;  // (B, T)
  Rows<const A> qkv;                        // (B T, (H + 2 K) D)
  Rows<A> out;                              // (B T, H D)
  float* lse = nullptr;                     // (B, H, T)
  Rows<const A> dout;                       // (B T, H D)
  float* delta = nullptr;                   // (B, H, T)
  Rows<A> dqkv;                             // (B T, (H + 2 K) D)

  __device__ int group() const { return query_heads / kv_heads; }
  __device__ int key_head(int kv) const { return query_heads + kv; }
  __device__ int value_head(int kv) const { return query_heads + kv_heads + kv; }
  __device__ const std::int32_t* starts(int b) const { return doc_start + static_cast<std::int64_t>(b) * t; }
  /// Where the line (T) of head h begins in lse and delta.
  __device__ std::int64_t line(int b, int h) const { return (static_cast<std::int64_t>(b) * query_heads + h) * t; }
  template <class T>
  __device__ Rows<T> head(Rows<T> packed, int b, int h) const {
    packed.data += static_cast<std::int64_t>(b) * t * packed.stride + static_cast<std::int64_t>(h) * dim;
    return packed;
  }
};

template <class A>
AttentionView<A> view_of(const AttentionCall& call) {
  AttentionView<A> view;
  view.t = narrow<int>(call.shape.t);
  view.query_heads = narrow<int>(call.shape.heads.query);
  view.kv_heads = narrow<int>(call.shape.heads.kv);
  view.dim = narrow<int>(call.shape.heads.dim);
  view.scale = call.shape.scale;
  view.doc_start = call.doc_start.ptr<std::int32_t>();
  view.qkv = rows_of<const A>(call.qkv);
  view.out = rows_of<A>(call.out);
  view.lse = call.lse.ptr<float>();
  view.dout = rows_of<const A>(call.dout);
  view.delta = call.delta ? call.delta.ptr<float>() : nullptr;
  view.dqkv = rows_of<A>(call.dqkv);
  return view;
}

/// One block per tile of each head of each sequence; the tiles of a head follow each other, so that what they share
/// stays in L2.
struct Share {
  int b, head, tile;
};
inline std::int64_t share_blocks(const AttentionShape& shape, std::int64_t heads, std::int64_t tile_rows) {
  return shape.b * heads * div_up(shape.t, tile_rows);
}
__device__ inline Share share_of_block(int heads, int tiles) {
  const int block = static_cast<int>(blockIdx.x), row = block / tiles;
  return {row / heads, row % heads, block % tiles};
}
/// The same with the last tile of a head first: late queries see the most keys, and the longest work starts first.
__device__ inline Share share_of_block_last_first(int heads, int tiles) {
  const Share share = share_of_block(heads, tiles);
  return {share.b, share.head, tiles - 1 - share.tile};
}

__device__ inline int lane_of_thread() {
  return static_cast<int>(threadIdx.x % 32);
}
__device__ inline int warp_of_thread() {
  return static_cast<int>(threadIdx.x / 32);
}
__device__ inline int least(int a, int b) {
  return a < b ? a : b;
}
__device__ inline int most(int a, int b) {
  return a < b ? b : a;
}

/// Which keys queries [query, end) see: none before `first`. From `whole` on no document hides any; causality may.
struct KeysSeen {
  int first, whole;
};
__device__ inline KeysSeen keys_seen(const std::int32_t* starts, int query, int end) {
  KeysSeen seen{end, 0};
  for (int t = query + lane_of_thread(); t < end; t += 32) {
    seen.first = least(seen.first, starts[t]);
    seen.whole = most(seen.whole, starts[t]);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    seen.first = least(seen.first, __shfl_xor_sync(kAllLanes, seen.first, offset));
    seen.whole = most(seen.whole, __shfl_xor_sync(kAllLanes, seen.whole, offset));
  }
  return seen;
}

/// Which queries see keys [key, key_end): none from `end` on. Before `whole` no document hides any; causality may.
/// Called once by all threads of a block of 4 warps.
struct QueriesSeeing {
  int end, whole;
};
__device__ inline QueriesSeeing queries_seeing(const std::int32_t* starts, int key, int key_end, int t) {
  __shared__ QueriesSeeing of_warp[4];
  QueriesSeeing seeing{key, t};
  for (int query = key + static_cast<int>(threadIdx.x); query < t; query += static_cast<int>(blockDim.x)) {
    const int start = starts[query];
    if (start < key_end) seeing.end = query + 1;
    if (start > key) seeing.whole = least(seeing.whole, query);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    seeing.end = most(seeing.end, __shfl_xor_sync(kAllLanes, seeing.end, offset));
    seeing.whole = least(seeing.whole, __shfl_xor_sync(kAllLanes, seeing.whole, offset));
  }
  if (lane_of_thread() == 0) of_warp[warp_of_thread()] = seeing;
  __syncthreads();
  for (const QueriesSeeing& other : of_warp) {
    seeing.end = most(seeing.end, other.end);
    seeing.whole = least(seeing.whole, other.whole);
  }
  return seeing;
}

}  // namespace sherd::cuda
