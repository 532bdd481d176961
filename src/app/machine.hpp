#pragma once
// What a run takes from the machine under it: threads, and the rate of its products.
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sherd/base/dtype.hpp"
#include "sherd/data/exchange.hpp"
#include "sherd/device/device.hpp"
#include "sherd/mesh/node_map.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::app {

/// `wanted`, or, if 0, this rank's share of the cores it may run on, which others of its node may be bound to as well:
/// mpirun binds several ranks to one socket. Collective.
int threads_per_rank(std::int64_t wanted, const NodeMap& nodes, Exchange& host);
/// The share of rank `rank`, when rank r may run on the cores bound[r], by number.
int share_of_cores(const std::vector<std::set<int>>& bound, const NodeMap& nodes, int rank);

/// Bytes that this node can still give: what Linux has available, or less where the job's cgroup is limited (--mem).
std::int64_t node_memory();
/// The same of one cgroup (version 2), a folder with memory.max, memory.current and memory.stat. What files occupy of
/// it counts as free, for the kernel gives it up. The largest number if the group has no limit.
std::int64_t memory_left_in_group(const std::string& group);
/// does_not_fit, before anything is loaded, unless this node's ranks fit into node_memory() together.
void require_memory(std::int64_t bytes_per_rank, const NodeMap& nodes, int rank, std::int64_t available);

/// FLOP/s of products over all ranks, measured by all at once: what MFU is a share of. Collective.
double world_gemm_rate(DType dtype, int threads, Exchange& host);

/// The device that --device names: auto is the CPU in a build without CUDA.
std::unique_ptr<Device> make_device(const std::string& name, int threads, int local_rank);
/// What makes that device's ops from their workspace.
using OpsMaker = std::unique_ptr<Ops> (*)(Tensor workspace);
OpsMaker ops_maker(const std::string& device);

}  // namespace sherd::app
