#pragma once
// How a kernel says that its data is wrong; the host throws it at its next synchronize().
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {

/// The first report of a run counts.
__device__ inline void report(Trouble* trouble, Trouble::Kind kind, long long found, long long at, long long limit) {
  if (atomicCAS_system(&trouble->kind, static_cast<int>(Trouble::none), static_cast<int>(kind)) != Trouble::none)
    return;
  trouble->found = found;
  trouble->at = at;
  trouble->limit = limit;
}

}  // namespace sherd::cuda
