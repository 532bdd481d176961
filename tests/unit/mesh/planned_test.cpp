#include <gtest/gtest.h>

#include "sherd/mesh/mesh.hpp"

namespace sherd {
namespace {

Mesh plan(int ranks, int nodes, const char* strategy, std::int64_t shard_size = 0) {
  Arena arena = Arena::measure("persistent");
  MeshOptions options;
  options.strategy = strategy;
  options.shard_size = shard_size;
  return Mesh::planned(NodeMap::even(ranks, nodes), options, arena);
}

TEST(PlannedMesh, HasTheAxesOfTheRun) {
  const Mesh m = plan(64, 8, "hybrid");
  EXPECT_EQ(m.shard->size(), 8);
  EXPECT_EQ(m.replicate->size(), 8);
  EXPECT_EQ(m.world->size(), 64);
  EXPECT_EQ(m.shard->axis(), "shard");
}

TEST(PlannedMesh, TakesTheStagingOfTheRun) {
  Arena alone = Arena::measure("persistent"), many = Arena::measure("persistent");
  Mesh::planned(NodeMap::even(1, 1), {}, alone);
  Mesh::planned(NodeMap::even(4, 1), {}, many);
  EXPECT_EQ(alone.high_water(), 0u);
  EXPECT_EQ(many.high_water(), std::size_t{8} << 20);

  MeshOptions on_gpus;
  on_gpus.device = "cuda";  // staging is in host memory
  Arena of_gpu = Arena::measure("persistent");
  Mesh::planned(NodeMap::even(4, 1), on_gpus, of_gpu);
  EXPECT_EQ(of_gpu.high_water(), 0u);
}

TEST(PlannedMesh, DescribesItself) {
  EXPECT_EQ(plan(4, 2, "hybrid").describe("cpu", 1),
            "4 ranks on 2 nodes (node0: 0,1; node1: 2,3), hybrid: 2 groups of 2, cpu, 1 thread per rank");
  EXPECT_EQ(plan(1, 1, "full").describe("cpu", 2),
            "1 rank on 1 node (node0: 0), full: 1 replica, cpu, 2 threads per rank");
  EXPECT_EQ(plan(8, 1, "full").describe("cuda", 1),
            "8 ranks on 1 node (node0: 0-7), full: 1 group of 8, cuda, 1 thread per rank");
  EXPECT_EQ(plan(3, 1, "none").describe("cpu", 1),
            "3 ranks on 1 node (node0: 0-2), none: 3 replicas, cpu, 1 thread per rank");
  const std::string large = plan(64, 16, "hybrid").describe("cuda", 4);
  EXPECT_NE(large.find("node6: 24-27; ...; node15: 60-63)"), std::string::npos) << large;
}

TEST(Mesh, DescribesScatteredRanks) {
  Mesh m;
  m.strategy = find_strategy("hybrid");
  m.nodes = NodeMap::from_keys({0, 1, 0, 0, 0, 1}, {"a", "b", "a", "a", "a", "b"});
  m.layout = arrange(m.nodes, m.strategy, 2);
  EXPECT_EQ(m.describe("cpu", 1),
            "6 ranks on 2 nodes (a: 0,2-4; b: 1,5), hybrid: 3 groups of 2, cpu, 1 thread per rank");
}

}  // namespace
}  // namespace sherd
