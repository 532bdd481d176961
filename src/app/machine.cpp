#include "machine.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::app {

int threads_per_rank(std::int64_t wanted, const NodeMap& nodes, int rank) {
  if (wanted > 0) return narrow<int>(wanted);
  cpu_set_t bound;
  CPU_ZERO(&bound);
  const int mine = sched_getaffinity(0, sizeof bound, &bound) == 0 ? CPU_COUNT(&bound) : 1;
  const auto online = narrow<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (mine < online) return std::max(mine, 1);  // the launcher has dealt out the cores
  const int node = nodes.place[static_cast<std::size_t>(rank)].node;
  return std::max(1, mine / narrow<int>(nodes.ranks_of(node).size()));
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
