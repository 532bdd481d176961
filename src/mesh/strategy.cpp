#include "sherd/mesh/strategy.hpp"

#include <algorithm>
#include <array>

#include "sherd/base/error.hpp"

namespace sherd {
namespace {

using enum Placement;
constexpr std::array kStrategies = {
    //               name      params      grads       optimizer
    ShardingStrategy{"none", everywhere, everywhere, everywhere},  // DDP
    ShardingStrategy{"full", world, world, world},                 // ZeRO-3, FSDP
    ShardingStrategy{"hybrid", group, group, group},               // FSDP HYBRID_SHARD, MiCS
};

// ShardedModel keeps one shard of each state on one axis. A row that places its states apart (ZeRO-1, ZeRO-2,
// hybrid-zero) needs it to read all three placements first.
static_assert(std::all_of(kStrategies.begin(), kStrategies.end(),
                          [](const ShardingStrategy& s) { return s.params == s.grads && s.grads == s.optimizer; }));

}  // namespace

std::span<const ShardingStrategy> sharding_strategies() {
  return kStrategies;
}

const ShardingStrategy& find_strategy(std::string_view name) {
  std::string known;
  for (const ShardingStrategy& s : kStrategies) {
    if (s.name == name) return s;
    known += (known.empty() ? "" : ", ") + std::string(s.name);
  }
  throw usage_error("--sharding '{}' is not known; use one of: {}", name, known);
}

}  // namespace sherd
