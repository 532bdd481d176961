// The line at the start of a run: ranks, nodes, groups, device, threads.
#include "sherd/mesh/mesh.hpp"

namespace sherd {
namespace {

constexpr int kNodesShown = 8;

/// "0-3,8,9": three and more in a row as a range.
std::string ranges(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    if (end - i < 3) end = i + 1;
    text += fmt::format("{}{}", i == 0 ? "" : ",", ranks[i]);
    if (end - i >= 3) text += fmt::format("-{}", ranks[end - 1]);
    i = end;
  }
  return text;
}

std::string counted(int n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string node_list(const NodeMap& nodes) {
  std::string text;
  for (int n = 0; n < nodes.nodes(); ++n) {
    if (nodes.nodes() > kNodesShown && n == kNodesShown - 1) {
      text += "; ...";
      n = nodes.nodes() - 1;
    }
    text +=
        fmt::format("{}{}: {}", n == 0 ? "" : "; ", nodes.host[static_cast<std::size_t>(n)], ranges(nodes.ranks_of(n)));
  }
  return text;
}

}  // namespace

std::string Mesh::describe(std::string_view device, int threads) const {
  const std::string groups = shard_size() == 1 ? counted(replicas(), "replica")
                                               : fmt::format("{} of {}", counted(replicas(), "group"), shard_size());
  return fmt::format("{} on {} ({}), {}: {}, {}, {} per rank", counted(world_size(), "rank"),
                     counted(nodes.nodes(), "node"), node_list(nodes), strategy.name, groups, device,
                     counted(threads, "thread"));
}

}  // namespace sherd
