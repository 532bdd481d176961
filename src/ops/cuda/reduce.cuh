#pragma once
// Sums and maxima over a warp and over a block, in an order that the shape alone fixes.
#include "ptx.cuh"

namespace sherd::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum over the warp, on every lane.
template <class T>
__device__ inline T warp_sum(T x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, offset);
    x = other > x ? other : x;
  }
  return x;
}

/// The sum over the block, on every thread. Every thread calls it; blockDim.x is a multiple of 32, at most 1024.
template <class T>
__device__ inline T block_sum(T x) {
  __shared__ T of_warp[32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  x = warp_sum(x);
  __syncthreads();  // the last call's results have been read
  if (lane == 0) of_warp[warp] = x;
  __syncthreads();
  T sum = of_warp[0];
  for (int w = 1; w < warps; ++w) sum += of_warp[w];
  return sum;
}
__device__ inline float block_max(float x) {
  __shared__ float of_warp[32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  x = warp_max(x);
  __syncthreads();  // the last call's results have been read
  if (lane == 0) of_warp[warp] = x;
  __syncthreads();
  float top = of_warp[0];
  for (int w = 1; w < warps; ++w) top = of_warp[w] > top ? of_warp[w] : top;
  return top;
}

}  // namespace sherd::cuda
