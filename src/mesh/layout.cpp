// Where every rank stands on the mesh.
#include <algorithm>
#include <numeric>

#include "sherd/base/narrow.hpp"
#include "sherd/mesh/mesh.hpp"

namespace sherd {
namespace {

bool uses(const ShardingStrategy& s, Placement p) {
  return s.params == p || s.grads == p || s.optimizer == p;
}

/// Ranks per node, if all nodes have the same number.
int ranks_per_node(const NodeMap& nodes) {
  std::vector<int> count(static_cast<std::size_t>(nodes.nodes()));
  for (const NodeMap::Place& p : nodes.place) ++count[static_cast<std::size_t>(p.node)];
  if (std::equal(count.begin() + 1, count.end(), count.begin())) return count[0];
  std::string found;
  for (std::size_t i = 0; i < count.size(); ++i) {
    found += fmt::format("{}{}: {}", i == 0 ? "" : ", ", nodes.host[i], count[i]);
  }
  throw usage_error(
      "--sharding hybrid shards within a node, and the nodes have different numbers of ranks ({}); start the same "
      "number on each, or give the ranks per group with --shard-size",
      found);
}

/// "2 or 4": the divisors of `ranks` on both sides of `wanted`.
std::string nearest_divisors(int ranks, std::int64_t wanted) {
  int below = 0, above = 0;
  for (int d = 1; d <= ranks; ++d) {
    if (ranks % d != 0) continue;
    if (d < wanted) below = d;
    if (d > wanted && above == 0) above = d;
  }
  if (below == 0 || above == 0) return fmt::format("{}", std::max(below, above));
  return fmt::format("{} or {}", below, above);
}

int group_size(const NodeMap& nodes, const ShardingStrategy& strategy, std::int64_t shard_size) {
  const int ranks = nodes.ranks();
  if (!uses(strategy, Placement::group)) {
    if (shard_size != 0) {
      throw usage_error("--shard-size {} goes with --sharding hybrid, not with {}", shard_size, strategy.name);
    }
    return uses(strategy, Placement::world) ? ranks : 1;
  }
  if (shard_size == 0) return ranks_per_node(nodes);
  if (shard_size < 0 || shard_size > ranks || ranks % shard_size != 0) {
    throw usage_error("{} ranks cannot be divided into groups of --shard-size {}; with {} ranks use {}", ranks,
                      shard_size, ranks, nearest_divisors(ranks, shard_size));
  }
  return narrow<int>(shard_size);
}

}  // namespace

MeshLayout arrange(const NodeMap& nodes, const ShardingStrategy& strategy, std::int64_t shard_size) {
  MeshLayout layout;
  layout.shard_size = group_size(nodes, strategy, shard_size);
  layout.replicas = nodes.ranks() / layout.shard_size;
  std::vector<int> order(nodes.place.size());  // world ranks by (node, local rank)
  std::iota(order.begin(), order.end(), 0);
  const auto place = [&](int rank) { return nodes.place[static_cast<std::size_t>(rank)]; };
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return std::pair(place(a).node, place(a).local_rank) < std::pair(place(b).node, place(b).local_rank);
  });
  layout.position.resize(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) layout.position[static_cast<std::size_t>(order[i])] = narrow<int>(i);
  return layout;
}

}  // namespace sherd
