#include "machine.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/cuda/ops.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::app {

int share_of_cores(const std::vector<std::set<int>>& bound, const NodeMap& nodes, int rank) {
  const std::set<int>& mine = bound[static_cast<std::size_t>(rank)];
  double share = 0;
  for (const int core : mine) {
    int users = 0;
    for (const int other : nodes.ranks_of(nodes.place[static_cast<std::size_t>(rank)].node))
      users += bound[static_cast<std::size_t>(other)].contains(core) ? 1 : 0;
    share += 1.0 / users;
  }
  return std::max(1, static_cast<int>(share + 1e-6));
}

int threads_per_rank(std::int64_t wanted, const NodeMap& nodes, Exchange& host) {
  if (wanted > 0) return narrow<int>(wanted);
  cpu_set_t mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);  // more than 1024 cores: --threads says it
  std::vector<std::set<int>> bound;
  for (const std::string& mask : host.all_gather({reinterpret_cast<const char*>(&mine), sizeof mine})) {
    cpu_set_t cores;
    std::memcpy(&cores, mask.data(), sizeof cores);
    std::set<int>& list = bound.emplace_back();
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &cores)) list.insert(core);
  }
  return share_of_cores(bound, nodes, host.rank());
}

namespace {

/// The number a file begins with; none if there is no such file or it says "max".
std::optional<std::int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  if (file >> value) return value;
  return {};
}

/// The number after `key` in a file of "key number" lines; 0 without it.
std::int64_t number_after(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string found;
  for (std::int64_t value = 0; file >> found >> value;) {
    if (found == key) return value;
  }
  return 0;
}

}  // namespace

std::int64_t memory_left_in_group(const std::string& group) {
  const auto limit = number_in(group + "/memory.max");
  const auto used = number_in(group + "/memory.current");
  if (!limit || !used) return std::numeric_limits<std::int64_t>::max();
  // What was read from files counts as used until somebody needs the memory; what is mapped or dirty is not in here.
  const std::int64_t cache = number_after(group + "/memory.stat", "inactive_file");
  return *limit - std::max<std::int64_t>(0, *used - cache);
}

std::int64_t node_memory() {
  std::int64_t available = std::numeric_limits<std::int64_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  for (std::int64_t kib = 0; meminfo >> key >> kib; meminfo.ignore(64, '\n')) {
    if (key == "MemAvailable:") available = kib * 1024;
  }
  std::ifstream groups("/proc/self/cgroup");  // version 2: one line, "0::/path"; a limit may stand at any level
  std::string line;
  while (std::getline(groups, line)) {
    if (!line.starts_with("0::")) continue;
    for (std::string path = line.substr(3); !path.empty(); path = path.substr(0, path.rfind('/'))) {
      available = std::min(available, memory_left_in_group("/sys/fs/cgroup" + path));
    }
  }
  return available;
}

void require_memory(std::int64_t bytes_per_rank, const NodeMap& nodes, int rank, std::int64_t available) {
  const int node = nodes.place[static_cast<std::size_t>(rank)].node;
  const auto ranks = static_cast<std::int64_t>(nodes.ranks_of(node).size());
  if (bytes_per_rank <= available / ranks) return;
  const auto gib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  throw does_not_fit(
      "{} has {:.2f} GiB of memory left, and its {} rank{} need {:.2f} GiB each; ask for more (--mem), spread the "
      "ranks over more nodes, or take --activation-checkpointing block, a smaller --batch-size-per-device or "
      "--max-seq-length",
      nodes.host[static_cast<std::size_t>(node)], gib(available), ranks, ranks == 1 ? "" : "s", gib(bytes_per_rank));
}

std::string unused_gpu(bool cuda_in_build, const std::filesystem::path& driver) {
  std::error_code ignored;
  if (cuda_in_build || !std::filesystem::exists(driver, ignored)) return "";
  return "the CPU computes: this machine has an NVIDIA driver, but this build has no CUDA backend; 'make build' adds "
         "it where nvcc is (CUDA 13)";
}

std::string settle_device(const std::string& asked, const NodeMap& nodes, Exchange& host) {
  if (asked != "auto") return asked;
  const std::vector<std::string> devices = host.all_gather(fmt::format("{}", cuda::device_count()));
  const auto with = std::count_if(devices.begin(), devices.end(), [](const std::string& n) { return n != "0"; });
  if (with == 0) {
    if (const std::string text = unused_gpu(cuda::in_build()); !text.empty()) log::warn("{}", text);
    return "cpu";
  }
  if (with == std::ssize(devices)) return "cuda";
  const auto without = narrow<int>(std::find(devices.begin(), devices.end(), "0") - devices.begin());
  throw usage_error(
      "{} sees no GPU, and {} of {} ranks see one; look at that node's driver (nvidia-smi) and at "
      "CUDA_VISIBLE_DEVICES, or choose --device cpu",
      nodes.name_of(without), with, devices.size())
      .told_by(0);
}

std::unique_ptr<Device> make_device(const std::string& name, int threads, int local_rank, bool debug) {
  if (name == "cuda") return cuda::make_device(local_rank, {.debug = debug});
  cpu::Options options;
  options.threads = threads;
  return std::make_unique<cpu::Device>(options);
}

DeviceShares share_devices(const std::vector<std::string>& identity, const NodeMap& nodes) {
  std::map<std::pair<int, std::string>, int> ranks_on;  // by node and device
  const auto device = [&](std::size_t rank) { return std::pair(nodes.place[rank].node, identity[rank]); };
  for (std::size_t rank = 0; rank < identity.size(); ++rank) ++ranks_on[device(rank)];
  DeviceShares shares{{}, narrow<int>(ranks_on.size())};
  for (std::size_t rank = 0; rank < identity.size(); ++rank) shares.users.push_back(ranks_on[device(rank)]);
  return shares;
}

Machine open_machine(const TrainConfig& config, const NodeMap& nodes, Exchange& host) {
  Machine machine;
  machine.kind = config.device;
  machine.threads = threads_per_rank(config.threads, nodes, host);
  const int local_rank = nodes.place[static_cast<std::size_t>(host.rank())].local_rank;
  together(host, [&] { machine.device = make_device(machine.kind, machine.threads, local_rank, config.debug); });
  if (machine.kind != "cuda") return machine;
  machine.shares = share_devices(host.all_gather(cuda::identity_of(*machine.device)), nodes);
  machine.memory = cuda::memory_of(*machine.device);
  if (machine.shares.shared()) {
    log::info("{} ranks share {} GPU{}, dealt out in turn by local rank", nodes.ranks(), machine.shares.devices,
              machine.shares.devices == 1 ? "" : "s");
  }
  return machine;
}

DeviceRates mean_rates(const Machine& machine, DType dtype, bool fp8, Exchange& host) {
  const bool cuda = machine.kind == "cuda";
  if (!cuda) cpu::set_threads(machine.threads);
  host.all_gather("");  // all at once, as in the step
  DeviceRates mine, sum;
  together(host, [&] {
    mine.flops = cuda ? cuda::measure_gemm_rate(*machine.device, dtype) : cpu::measure_gemm_rate(dtype);
    mine.bytes = cuda ? cuda::measure_copy_rate(*machine.device) : cpu::measure_copy_rate();
    if (fp8) mine.f8_flops = cuda ? cuda::measure_gemm_rate(*machine.device, DType::f8e4m3) : mine.flops;
  });
  for (const std::string& rates : host.all_gather(fmt::format("{} {} {}", mine.flops, mine.bytes, mine.f8_flops))) {
    char* next = nullptr;
    sum.flops += std::strtod(rates.c_str(), &next);
    sum.bytes += std::strtod(next, &next);
    sum.f8_flops += std::strtod(next, nullptr);
  }
  return {sum.flops / host.size(), sum.bytes / host.size(), sum.f8_flops / host.size()};
}

}  // namespace sherd::app
