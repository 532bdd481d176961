#pragma once
// launch: the one way in which this backend starts a kernel. Sizes are of the whole grid; an empty grid launches
// nothing.
#include "sherd/base/narrow.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {

struct Grid {
  std::int64_t x = 1, y = 1, z = 1;  // blocks
  int threads = 256;                 // per block, along x
  std::int64_t shared = 0;           // dynamic shared bytes per block
};

/// kernel(args...) on stream s; `op` names it in errors and is a string literal.
template <class... Params, class... Args>
void launch(sherd::Stream& s, const char* op, void (*kernel)(Params...), const Grid& grid, Args... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr std::int64_t kDefaultShared = 40 << 10;  // 48 KiB with what a kernel has of its own; more must be asked for
  if (grid.shared > kDefaultShared) {
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    narrow<int>(grid.shared)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(narrow<unsigned>(grid.x), narrow<unsigned>(grid.y), narrow<unsigned>(grid.z));
  config.blockDim = dim3(narrow<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(grid.shared);
  config.stream = native(s);
  will_run(s);
  cuda_check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), op);
  ran(s, op);
}

/// The block's dynamic shared memory as an array of T.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  return reinterpret_cast<T*>(shared_memory);
}

}  // namespace sherd::cuda
