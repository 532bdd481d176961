#pragma once
// What every communicator demands of its arguments: self, recording and MPI refuse the same calls, so that a plan that
// passes is a run that passes.
#include <cstdint>

#include "sherd/base/tensor.hpp"

namespace sherd {

/// Up to this many elements an all-reduce exchanges everything: one latency instead of two.
constexpr std::int64_t kSmallAllReduce = 1024;

void check_all_gather(Tensor shard, Tensor full, int size);
void check_reduce_scatter(Tensor full, Tensor shard, float beta, int rank, int size);
void check_all_reduce(Tensor inout, int size);
void check_broadcast(Tensor inout, int root, int size);

/// Rank's part (S) of full (P S).
Tensor part_of(Tensor full, int rank, int size);

}  // namespace sherd
