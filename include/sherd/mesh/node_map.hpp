#pragma once
// NodeMap: which world ranks share a node. Found through MPI, for Slurm's own variables are wrong under mpirun, and a
// node's ranks need not be contiguous (srun --distribution=cyclic).
#include <string>
#include <vector>

#include "sherd/comm/mpi.hpp"

namespace sherd {

struct NodeMap {
  struct Place {
    int node = 0;        // nodes are numbered in the order of their lowest world rank
    int local_rank = 0;  // among the ranks of the node, by world rank
  };
  std::vector<Place> place;       // by world rank
  std::vector<std::string> host;  // by node

  int ranks() const { return static_cast<int>(place.size()); }
  int nodes() const { return static_cast<int>(host.size()); }
  /// World ranks of a node, in the order of their local ranks.
  std::vector<int> ranks_of(int node) const;
  /// "rank 3 (node1)"
  std::string name_of(int rank) const;

  /// Collective over the world. Rank 0 warns when Slurm's view differs.
  static NodeMap discover(const MpiSession& session);
  /// What a plan assumes: `ranks` spread evenly and contiguously over node0, node1, ...
  static NodeMap even(int ranks, int nodes);
  /// From the node that each rank names by any number, and each rank's host name.
  static NodeMap from_keys(const std::vector<int>& key, const std::vector<std::string>& host_of_rank);
};

/// A warning if Slurm counts other nodes than MPI found, else empty. `slurm_nodes`: SLURM_JOB_NUM_NODES, null outside a
/// job.
std::string slurm_disagreement(int nodes, const char* slurm_nodes);

}  // namespace sherd
