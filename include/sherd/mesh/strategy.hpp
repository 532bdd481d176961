#pragma once
// The table of sharding strategies (law 7): where each state of the training rests. What reads the table asks for
// placements, never for a name, so that a further strategy is a further row.
#include <span>
#include <string_view>

namespace sherd {

enum class Placement {
  everywhere,  // every rank holds all of it
  group,       // spread over a shard group, repeated in every group
  world,       // spread over all ranks
};

struct ShardingStrategy {
  std::string_view name;  // as in --sharding
  Placement params;       // between their uses
  Placement grads;        // once summed
  Placement optimizer;    // master weights and moments
};

std::span<const ShardingStrategy> sharding_strategies();
/// The row of that name; usage error that lists the known ones.
const ShardingStrategy& find_strategy(std::string_view name);

}  // namespace sherd
