#pragma once
// What a run takes from the machine under it: a device, threads, memory, and the rate of its products.
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sherd/base/dtype.hpp"
#include "sherd/config/train_config.hpp"
#include "sherd/data/exchange.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/device/device.hpp"
#include "sherd/mesh/node_map.hpp"
#include "sherd/ops/work.hpp"

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

/// What --device means here: auto is cuda where every rank sees a GPU, and cpu where none does; usage error where some
/// do. Collective.
std::string settle_device(const std::string& asked, const NodeMap& nodes, Exchange& host);
/// The device of that name, settled. `local_rank` chooses among GPUs; `debug`: --debug.
std::unique_ptr<Device> make_device(const std::string& name, int threads, int local_rank, bool debug = false);

/// Which ranks compute on one GPU: known to all ranks.
struct DeviceShares {
  std::vector<int> users;  // by rank: the ranks on its device, itself included
  int devices = 0;         // of all nodes
  bool shared() const { return devices < static_cast<int>(users.size()); }
};
/// identity[r] names the device of rank r among those of its node.
DeviceShares share_devices(const std::vector<std::string>& identity, const NodeMap& nodes);

/// What to say where the CPU computes, though `driver` shows that there is an NVIDIA driver; else empty.
std::string unused_gpu(bool cuda_in_build, const std::filesystem::path& driver = "/dev/nvidiactl");

/// What a rank computes on.
struct Machine {
  std::string kind;                // "cpu" or "cuda"
  int threads = 1;                 // of the CPU
  std::unique_ptr<Device> device;  // made last
  DeviceShares shares;             // of GPUs; empty with the CPU
  cuda::Memory memory;             // of the GPU, once every rank has opened its own
};
/// What the settled `config` asks for, on all ranks or on none. Collective.
Machine open_machine(const TrainConfig& config, const NodeMap& nodes, Exchange& host);

/// What a rank's device reaches, measured by all at once, as in a step: the mean of all ranks. With `fp8` also in
/// eight bits; on the CPU, which has no units for them, that is the rate of `dtype`. Collective.
DeviceRates mean_rates(const Machine& machine, DType dtype, bool fp8, Exchange& host);

}  // namespace sherd::app
