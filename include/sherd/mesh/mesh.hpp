#pragma once
// Mesh: the ranks as axes, replicate x shard, and a communicator for each. Ranks are ordered by node, then by local
// rank; shard groups are runs of F in that order, and the replicate axis joins the ranks with the same place in their
// groups.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/comm/communicator.hpp"
#include "sherd/comm/staged.hpp"
#include "sherd/device/arena.hpp"
#include "sherd/mesh/node_map.hpp"
#include "sherd/mesh/strategy.hpp"

namespace sherd {

struct MeshOptions {
  std::string strategy = "full";  // --sharding
  std::int64_t shard_size = 0;    // --shard-size: ranks per group with hybrid; 0: the ranks of a node
  double timeout_seconds = 300;   // --comm-timeout
  std::string flight_records;     // folder for the last collectives of a rank that gives up; empty: none
  std::string device = "cpu";     // --device: whose memory the collectives move, cpu or cuda
  bool own_devices = false;       // with cuda: no two ranks share a device, so NCCL may join them
};

/// Who is where on the mesh: pure arithmetic, the same on all ranks.
struct MeshLayout {
  int shard_size = 1;         // F
  int replicas = 1;           // R; F R = ranks
  std::vector<int> position;  // by world rank: its place in the order by (node, local rank) = its rank on axis "world"
};
/// Usage errors: nodes of different sizes with hybrid and no --shard-size; a shard size that does not divide the ranks;
/// --shard-size with a strategy that has no groups.
MeshLayout arrange(const NodeMap& nodes, const ShardingStrategy& strategy, std::int64_t shard_size);

struct Mesh {
  ShardingStrategy strategy;
  NodeMap nodes;
  MeshLayout layout;
  int world_rank = 0;  // in MPI_COMM_WORLD: names this rank in logs; data and layout go by world->rank()
  std::unique_ptr<HostStaging> staging;                   // with cuda, where NCCL does not join the ranks
  std::unique_ptr<Communicator> shard, replicate, world;  // sizes F, R, F R; all on one stream

  int world_size() const { return nodes.ranks(); }
  int node() const { return nodes.place[static_cast<std::size_t>(world_rank)].node; }
  int local_rank() const { return nodes.place[static_cast<std::size_t>(world_rank)].local_rank; }
  int shard_size() const { return layout.shard_size; }
  int replicas() const { return layout.replicas; }

  /// "4 ranks on 2 nodes (node0: 0,1; node1: 2,3), hybrid: 2 groups of 2, cpu, 1 thread per rank"
  std::string describe(std::string_view device, int threads) const;

  /// Collective over the world. With the CPU it takes kStagingBytes from `persistent`, unless the world is one rank.
  /// With CUDA, after the device is made: staging, if any, is in host memory.
  static Mesh make(const MpiSession& session, const MeshOptions& options, Arena& persistent);
  static Mesh make(const MpiSession& session, NodeMap nodes, const MeshOptions& options, Arena& persistent);
  /// Rank 0 of a mesh that is not there, or not yet: recording communicators, the same allocations.
  static Mesh planned(NodeMap nodes, const MeshOptions& options, Arena& persistent);
};

}  // namespace sherd
