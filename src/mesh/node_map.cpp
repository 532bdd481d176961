#include "sherd/mesh/node_map.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd {

std::vector<int> NodeMap::ranks_of(int node) const {
  std::vector<int> ranks;
  for (int r = 0; r < this->ranks(); ++r) {
    if (place[static_cast<std::size_t>(r)].node == node) ranks.push_back(r);
  }
  return ranks;
}

std::string NodeMap::name_of(int rank) const {
  const Place& p = place.at(static_cast<std::size_t>(rank));
  return fmt::format("rank {} ({})", rank, host[static_cast<std::size_t>(p.node)]);
}

NodeMap NodeMap::from_keys(const std::vector<int>& key, const std::vector<std::string>& host_of_rank) {
  NodeMap map;
  std::vector<int> seen, members;  // by node: its key, its ranks so far
  for (std::size_t r = 0; r < key.size(); ++r) {
    const auto found = std::find(seen.begin(), seen.end(), key[r]);
    const auto node = static_cast<std::size_t>(found - seen.begin());
    if (found == seen.end()) {
      seen.push_back(key[r]);
      members.push_back(0);
      map.host.push_back(host_of_rank.at(r));
    }
    map.place.push_back({narrow<int>(node), members[node]++});
  }
  return map;
}

NodeMap NodeMap::discover(const MpiSession& session) {
  const MpiComm node = MpiComm::split_node(session.world());
  int lowest = session.rank();  // of this node: its key
  MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, node.get()));
  const auto size = static_cast<std::size_t>(session.size());
  std::vector<int> keys(size);
  MPI_CHECK(MPI_Allgather(&lowest, 1, MPI_INT, keys.data(), 1, MPI_INT, session.world()));

  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  MPI_CHECK(MPI_Get_processor_name(name, &length));
  std::vector<char> names(size * sizeof name);
  MPI_CHECK(MPI_Allgather(name, sizeof name, MPI_CHAR, names.data(), sizeof name, MPI_CHAR, session.world()));
  std::vector<std::string> hosts;
  for (std::size_t r = 0; r < size; ++r) {
    const char* at = names.data() + r * sizeof name;
    hosts.emplace_back(at, ::strnlen(at, sizeof name));
  }
  NodeMap map = from_keys(keys, hosts);
  const char* slurm = std::getenv("SLURM_JOB_NUM_NODES");
  const std::string doubt = slurm_disagreement(map.nodes(), slurm != nullptr ? slurm : std::getenv("SLURM_NNODES"));
  if (session.rank() == 0 && !doubt.empty()) log::warn("{}", doubt);
  return map;
}

NodeMap NodeMap::even(int ranks, int nodes) {
  if (ranks < 1 || nodes < 1 || ranks % nodes != 0) {
    throw usage_error("{} ranks cannot be spread evenly over {} nodes; give a multiple of the nodes", ranks, nodes);
  }
  std::vector<int> keys;
  std::vector<std::string> hosts;
  for (int r = 0; r < ranks; ++r) {
    keys.push_back(r / (ranks / nodes));
    hosts.push_back(fmt::format("node{}", keys.back()));
  }
  return from_keys(keys, hosts);
}

std::string slurm_disagreement(int nodes, const char* slurm_nodes) {
  if (slurm_nodes == nullptr) return "";
  int count = 0;
  const auto [end, error] = std::from_chars(slurm_nodes, slurm_nodes + std::strlen(slurm_nodes), count);
  if (error == std::errc() && *end == '\0' && count == nodes) return "";
  return fmt::format(
      "MPI found {} node(s), Slurm's job has {}; going by MPI. If all nodes should take part, look at srun's "
      "--nodes and --ntasks, and start with srun --mpi=pmix",
      nodes, slurm_nodes);
}

}  // namespace sherd
