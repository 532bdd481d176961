#include "sherd/mesh/mesh.hpp"

#include <functional>

#include "sherd/base/narrow.hpp"
#include "sherd/comm/nccl.hpp"

namespace sherd {
namespace {

/// Nobody to talk to, no landing buffers; and none of MPI's in the memory of a GPU.
Tensor take_staging(int ranks, const MeshOptions& options, Arena& persistent) {
  return ranks == 1 || options.device == "cuda" ? Tensor{} : persistent.take(DType::f32, {kStagingBytes / 4});
}

std::unique_ptr<HostStaging> take_host_staging(int ranks, const MeshOptions& options) {
  const bool nccl = nccl_available() && options.own_devices;
  return ranks == 1 || options.device != "cuda" || nccl ? nullptr : make_host_staging();
}

/// Makes the communicators of one mesh.
struct AxisMaker {
  const MpiSession& session;
  const Mesh& mesh;
  const MeshOptions& options;
  Tensor staging;

  /// The axis of the ranks whose position has the same `color` as this rank's, in the order of their positions.
  std::unique_ptr<Communicator> operator()(std::string axis, int size, const std::function<int(int)>& color) const {
    HostStaging* const host = mesh.staging.get();
    if (size == 1) return host != nullptr ? host->alone(std::move(axis)) : make_self_communicator(std::move(axis));
    const int mine = mesh.layout.position[static_cast<std::size_t>(session.rank())];
    MpiComm comm = MpiComm::split(session.world(), color(mine), mine);
    SHERD_CHECK(comm.size() == size, "axis {} has {} ranks, and {} were expected", axis, comm.size(), size);
    MpiOptions o;
    o.timeout_seconds = options.timeout_seconds;
    o.rank_names.resize(static_cast<std::size_t>(size));
    const std::vector<int> members = world_ranks(comm);
    for (std::size_t i = 0; i < members.size(); ++i) o.rank_names[i] = mesh.nodes.name_of(members[i]);
    if (!options.flight_records.empty()) {
      o.flight_record = fmt::format("{}/flight-{}-rank{}.json", options.flight_records, axis, session.rank());
    }
    if (host != nullptr) return host->over_mpi(std::move(comm), std::move(axis), std::move(o));
    if (options.device == "cuda") return make_nccl_communicator(std::move(comm), std::move(axis), std::move(o));
    return make_mpi_communicator(std::move(comm), std::move(axis), staging, std::move(o));
  }

  /// By rank of the axis: its rank in the world.
  std::vector<int> world_ranks(const MpiComm& comm) const {
    std::vector<int> members(static_cast<std::size_t>(comm.size()));
    const int mine = session.rank();
    MPI_CHECK(MPI_Allgather(&mine, 1, MPI_INT, members.data(), 1, MPI_INT, comm.get()));
    return members;
  }
};

Mesh without_axes(NodeMap nodes, const MeshOptions& options, int world_rank) {
  Mesh mesh;
  mesh.strategy = find_strategy(options.strategy);
  mesh.layout = arrange(nodes, mesh.strategy, options.shard_size);
  mesh.nodes = std::move(nodes);
  mesh.world_rank = world_rank;
  return mesh;
}

}  // namespace

Mesh Mesh::make(const MpiSession& session, const MeshOptions& options, Arena& persistent) {
  return make(session, NodeMap::discover(session), options, persistent);
}

Mesh Mesh::make(const MpiSession& session, NodeMap nodes, const MeshOptions& options, Arena& persistent) {
  SHERD_CHECK(nodes.ranks() == session.size(), "a map of {} ranks in a world of {}", nodes.ranks(), session.size());
  Mesh mesh = without_axes(std::move(nodes), options, session.rank());
  const int f = mesh.shard_size();
  mesh.staging = take_host_staging(mesh.world_size(), options);
  const AxisMaker axis{session, mesh, options, take_staging(mesh.world_size(), options, persistent)};
  auto shard = axis("shard", f, [f](int position) { return position / f; });
  auto replicate = axis("replicate", mesh.replicas(), [f](int position) { return position % f; });
  auto world = axis("world", mesh.world_size(), [](int) { return 0; });
  mesh.shard = std::move(shard);
  mesh.replicate = std::move(replicate);
  mesh.world = std::move(world);
  return mesh;
}

Mesh Mesh::planned(NodeMap nodes, const MeshOptions& options, Arena& persistent) {
  const int ranks = nodes.ranks();
  Mesh mesh = without_axes(std::move(nodes), options, 0);
  take_staging(ranks, options, persistent);
  mesh.shard = make_recording_communicator("shard", 0, mesh.shard_size());
  mesh.replicate = make_recording_communicator("replicate", 0, mesh.replicas());
  mesh.world = make_recording_communicator("world", 0, ranks);
  return mesh;
}

}  // namespace sherd
