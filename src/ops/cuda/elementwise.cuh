#pragma once
// One pass over flat memory: a thread does one pack, then one grid further, in packs of 16 bytes where the memory
// allows.
#include "launch.cuh"
#include "vector.cuh"

namespace sherd::cuda {

constexpr int kElementThreads = 256;
constexpr std::int64_t kMostBlocks = 132 * 16;  // enough to fill any device; the rest is a loop

__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t grid_threads() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}
inline Grid element_grid(std::int64_t items) {
  Grid grid;
  grid.x = std::min(kMostBlocks, div_up(items, kElementThreads));
  grid.threads = kElementThreads;
  return grid;
}

/// One block per row and run of at most 320 packs of it, a thread per pack: no divisions, and few idle threads.
inline Grid row_grid(std::int64_t rows, std::int64_t packs) {
  Grid grid;
  grid.x = rows;
  grid.y = div_up(packs, 320);
  grid.threads = narrow<int>(grid.y == 0 ? 32 : round_up(div_up(packs, grid.y), 32));
  return grid;
}
/// This thread's pack of its row; beyond the last where the row ends within the block.
__device__ inline int pack_of_row() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
}

/// Elements of one pack when T and U are moved together: 16 bytes of the wider one.
template <class T, class U>
constexpr int kPackOfBoth = kPackOf<T> < kPackOf<U> ? kPackOf<T> : kPackOf<U>;

}  // namespace sherd::cuda
