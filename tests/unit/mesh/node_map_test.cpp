#include "sherd/mesh/node_map.hpp"

#include <gtest/gtest.h>

namespace sherd {
namespace {

TEST(NodeMap, NodesAreNumberedByTheirLowestRank) {
  const NodeMap m = NodeMap::from_keys({42, 7, 42, 7, 7}, {"a", "b", "a", "b", "b"});
  EXPECT_EQ(m.ranks(), 5);
  EXPECT_EQ(m.nodes(), 2);
  EXPECT_EQ(m.host, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(m.ranks_of(0), (std::vector<int>{0, 2}));
  EXPECT_EQ(m.ranks_of(1), (std::vector<int>{1, 3, 4}));
  EXPECT_EQ(m.place[4].node, 1);
  EXPECT_EQ(m.place[4].local_rank, 2);
  EXPECT_EQ(m.name_of(3), "rank 3 (b)");
}

TEST(NodeMap, EvenOnesAreContiguous) {
  const NodeMap m = NodeMap::even(6, 2);
  EXPECT_EQ(m.ranks_of(1), (std::vector<int>{3, 4, 5}));
  EXPECT_EQ(m.host[1], "node1");
  EXPECT_THROW(NodeMap::even(5, 2), Error);
  EXPECT_THROW(NodeMap::even(0, 1), Error);
}

TEST(NodeMap, SlurmsViewIsComparedNotBelieved) {
  EXPECT_EQ(slurm_disagreement(2, nullptr), "");
  EXPECT_EQ(slurm_disagreement(2, "2"), "");
  EXPECT_NE(slurm_disagreement(1, "2").find("MPI found 1 node(s), Slurm's job has 2"), std::string::npos);
  EXPECT_NE(slurm_disagreement(2, "2(x3)"), "");
  EXPECT_NE(slurm_disagreement(2, ""), "");
}

}  // namespace
}  // namespace sherd
