#pragma once
// Sums and maxima over a warp and over a block, in an order that the shape alone fixes.
#include "ptx.cuh"

namespace sherd::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

/// What op makes of the values of a warp, or of each kLanes of it, on every lane.
template <class Op, int kLanes = 32, class T>
__device__ inline T warp_reduce(T x) {
  const Op op;
  for (int offset = kLanes / 2; offset > 0; offset /= 2) x = op(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

/// What op makes of the block's values, on every thread. Every thread calls it; blockDim.x is a multiple of 32, at most
/// 1024. of_warp: shared room for 32, which nobody else reads or writes meanwhile. One barrier, none in a block of one
/// warp.
template <class Op, class T>
__device__ inline T block_reduce_in(T* of_warp, T x) {
  const Op op;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  x = warp_reduce<Op>(x);
  if (warps == 1) return x;
  if (lane == 0) of_warp[warp] = x;
  __syncthreads();
  T all = of_warp[0];
  for (int w = 1; w < warps; ++w) all = op(all, of_warp[w]);
  return all;
}
/// The same with room of its own, and a barrier in front: it also stands between what the block did before and after.
template <class Op, class T>
__device__ inline T block_reduce(T x) {
  __shared__ T of_warp[32];
  __syncthreads();  // the last call's results have been read
  return block_reduce_in<Op>(of_warp, x);
}

template <class T>
__device__ inline T warp_sum(T x) {
  return warp_reduce<Sum>(x);
}
template <class T>
__device__ inline T block_sum(T x) {
  return block_reduce<Sum>(x);
}
template <class T>
__device__ inline T block_max(T x) {
  return block_reduce<Largest>(x);
}

}  // namespace sherd::cuda
