#include "machine.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/device/cuda/device.hpp"
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

double world_gemm_rate(DType dtype, int threads, Exchange& host) {
  cpu::set_threads(threads);
  host.all_gather("");  // all at once, as in the step
  double sum = 0;
  for (const std::string& rate : host.all_gather(fmt::format("{}", cpu::measure_gemm_rate(dtype))))
    sum += std::atof(rate.c_str());
  return sum;
}

std::unique_ptr<Device> make_device(const std::string& name, int threads, int local_rank) {
  if (name == "cuda") return cuda::make_device(local_rank);
  cpu::Options options;
  options.threads = threads;
  return std::make_unique<cpu::Device>(options);
}

}  // namespace sherd::app
