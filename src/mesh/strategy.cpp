#include "sherd/mesh/strategy.hpp"

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
