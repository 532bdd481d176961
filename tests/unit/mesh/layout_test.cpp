#include <gtest/gtest.h>

#include "sherd/mesh/mesh.hpp"

namespace sherd {
namespace {

const NodeMap kCyclic = NodeMap::from_keys({0, 1, 0, 1, 0, 1}, {"a", "b", "a", "b", "a", "b"});
const NodeMap kUneven = NodeMap::from_keys({0, 0, 1}, {"a", "a", "b"});

std::string refusal(const NodeMap& nodes, const char* strategy, std::int64_t shard_size) {
  try {
    arrange(nodes, find_strategy(strategy), shard_size);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    return e.what();
  }
  return "";
}

TEST(MeshLayout, HybridGroupsAreNodesWhereverTheirRanksAre) {
  const MeshLayout m = arrange(kCyclic, find_strategy("hybrid"), 0);
  EXPECT_EQ(m.shard_size, 3);
  EXPECT_EQ(m.replicas, 2);
  EXPECT_EQ(m.position, (std::vector<int>{0, 3, 1, 4, 2, 5}));
}

TEST(MeshLayout, OtherStrategiesTakeAllOrNone) {
  const MeshLayout full = arrange(kUneven, find_strategy("full"), 0);
  EXPECT_EQ(full.shard_size, 3);
  EXPECT_EQ(full.replicas, 1);
  const MeshLayout none = arrange(kUneven, find_strategy("none"), 0);
  EXPECT_EQ(none.shard_size, 1);
  EXPECT_EQ(none.replicas, 3);
}

TEST(MeshLayout, ShardSizeOverridesTheNode) {
  EXPECT_EQ(arrange(kCyclic, find_strategy("hybrid"), 2).replicas, 3);
  EXPECT_EQ(arrange(kCyclic, find_strategy("hybrid"), 6).replicas, 1);
  EXPECT_EQ(arrange(kUneven, find_strategy("hybrid"), 1).replicas, 3);
}

TEST(MeshLayout, NodesOfDifferentSizesAreRefused) {
  const std::string text = refusal(kUneven, "hybrid", 0);
  EXPECT_NE(text.find("a: 2, b: 1"), std::string::npos) << text;
  EXPECT_NE(text.find("--shard-size"), std::string::npos) << text;
}

TEST(MeshLayout, ShardSizesThatDoNotDivideAreRefused) {
  EXPECT_EQ(refusal(kCyclic, "hybrid", 4),
            "6 ranks cannot be divided into groups of --shard-size 4; with 6 ranks use 3 or 6");
  EXPECT_NE(refusal(kCyclic, "hybrid", 12).find("use 6"), std::string::npos);
  EXPECT_NE(refusal(kCyclic, "hybrid", -1).find("use 1"), std::string::npos);
  EXPECT_NE(refusal(kCyclic, "full", 2).find("--sharding hybrid, not with full"), std::string::npos);
  EXPECT_NE(refusal(kCyclic, "none", 2).find("--sharding hybrid, not with none"), std::string::npos);
}

}  // namespace
}  // namespace sherd
