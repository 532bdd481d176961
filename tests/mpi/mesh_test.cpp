// The mesh over MPI, with node maps written by hand: what is emulated is the placement, the messages are real.
#include <gtest/gtest.h>

#include <vector>

#include "session.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/mesh/mesh.hpp"

namespace sherd {
namespace {

class MeshOverMpi : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size();
  cpu::Device device{{cpu::Schedule::threaded, false, false, 1}};
  std::unique_ptr<Stream> stream = device.stream("comm", StreamKind::communication);
  Arena arena = device.arena("persistent", std::size_t{16} << 20);

  /// World ranks of an axis, in its order.
  std::vector<int> members(Communicator& c) {
    std::vector<std::int32_t> mine = {rank}, all(static_cast<std::size_t>(c.size()));
    c.all_gather(Tensor::make(mine.data(), DType::i32, {1}), Tensor::make(all.data(), DType::i32, {c.size()}),
                 {"members", 0}, *stream);
    stream->synchronize();
    return all;
  }
  static MeshOptions with(const char* strategy, std::int64_t shard_size = 0) {
    MeshOptions options;
    options.strategy = strategy;
    options.shard_size = shard_size;
    options.timeout_seconds = 60;
    return options;
  }
};

TEST_F(MeshOverMpi, FindsTheOneNodeOfThisMachine) {
  const Mesh m = Mesh::make(test::session(), with("hybrid"), arena);
  EXPECT_EQ(m.nodes.nodes(), 1);
  EXPECT_EQ(m.local_rank(), rank);
  EXPECT_EQ(m.shard_size(), size);
  EXPECT_FALSE(m.nodes.host[0].empty());
  EXPECT_EQ(arena.high_water(), size == 1 ? 0u : std::size_t{8} << 20);
}

TEST_F(MeshOverMpi, JoinsScatteredRanksByNode) {
  if (size != 4) GTEST_SKIP() << "written for 4 ranks";
  const NodeMap nodes = NodeMap::from_keys({5, 3, 5, 3}, {"a", "b", "a", "b"});
  const Mesh m = Mesh::make(test::session(), nodes, with("hybrid"), arena);
  EXPECT_EQ(m.node(), rank % 2);
  EXPECT_EQ(m.local_rank(), rank / 2);
  EXPECT_EQ(members(*m.shard), rank % 2 == 0 ? (std::vector<int>{0, 2}) : (std::vector<int>{1, 3}));
  EXPECT_EQ(members(*m.replicate), rank < 2 ? (std::vector<int>{0, 1}) : (std::vector<int>{2, 3}));
  EXPECT_EQ(members(*m.world), (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(m.world->rank(), m.layout.position[static_cast<std::size_t>(rank)]);
}

TEST_F(MeshOverMpi, HasAxesOfOneAndAll) {
  const Mesh none = Mesh::make(test::session(), with("none"), arena);
  EXPECT_EQ(none.shard->size(), 1);
  EXPECT_EQ(none.replicate->size(), size);
  EXPECT_EQ(members(*none.shard), (std::vector<int>{rank}));
  const Mesh full = Mesh::make(test::session(), with("full"), arena);
  EXPECT_EQ(full.shard->size(), size);
  EXPECT_EQ(full.replicate->size(), 1);
  EXPECT_EQ(full.shard->rank(), rank);
}

/// 2 groups of 2 among 4 ranks on nodes of 3 and 1.
TEST_F(MeshOverMpi, ShardSizeOverridesNodes) {
  if (size != 4) GTEST_SKIP() << "written for 4 ranks";
  const NodeMap nodes = NodeMap::from_keys({0, 0, 1, 0}, {"a", "a", "b", "a"});
  EXPECT_THROW(Mesh::make(test::session(), nodes, with("hybrid"), arena), Error);
  const Mesh m = Mesh::make(test::session(), nodes, with("hybrid", 2), arena);
  EXPECT_EQ(members(*m.shard), rank < 2 ? (std::vector<int>{0, 1}) : (std::vector<int>{3, 2}));
}

TEST_F(MeshOverMpi, NamesMissingRanksByWorldRankAndHost) {
  if (size != 4) GTEST_SKIP() << "written for 4 ranks";
  const NodeMap nodes = NodeMap::from_keys({5, 3, 5, 3}, {"a", "b", "a", "b"});
  MeshOptions options = with("hybrid");
  options.timeout_seconds = 0.3;
  const Mesh m = Mesh::make(test::session(), nodes, options, arena);
  if (rank == 1) {
    m.shard->barrier({"end of step", 4}, *stream);
    try {
      stream->synchronize();
      ADD_FAILURE() << "rank 3 was not waited for";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("rank 1 (b), barrier 'end of step' of step 4 on axis shard"),
                std::string::npos)
          << e.what();
      EXPECT_NE(std::string(e.what()).find("for rank 3 (b)"), std::string::npos) << e.what();
    }
  }
  MPI_CHECK(MPI_Barrier(test::session().world()));
}

}  // namespace
}  // namespace sherd
