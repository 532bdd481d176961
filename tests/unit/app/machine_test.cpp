#include "machine.hpp"

#include <gtest/gtest.h>

namespace sherd::app {
namespace {

using Cores = std::set<int>;

TEST(Threads, AreTheCoresOfARankThatIsBoundAlone) {
  const NodeMap nodes = NodeMap::even(2, 1);
  EXPECT_EQ(share_of_cores({Cores{0, 1, 2}, Cores{3}}, nodes, 0), 3);
  EXPECT_EQ(share_of_cores({Cores{0, 1, 2}, Cores{3}}, nodes, 1), 1);
}

TEST(Threads, AreAShareOfCoresThatOthersMayUse) {
  const Cores socket0{0, 1, 2, 3}, socket1{4, 5, 6, 7};
  const std::vector<Cores> by_socket{socket0, socket0, socket1, socket1};
  const NodeMap one_node = NodeMap::even(4, 1);
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(share_of_cores(by_socket, one_node, rank), 2);
  EXPECT_EQ(share_of_cores({socket0, socket0, socket0}, NodeMap::even(3, 1), 0), 1);  // 4 / 3
  EXPECT_EQ(share_of_cores({Cores{0}, Cores{0}, Cores{0}}, NodeMap::even(3, 1), 2), 1);
}

TEST(Threads, OfOtherNodesAreNoRivals) {
  const Cores all{0, 1, 2, 3};
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(share_of_cores({all, all}, NodeMap::even(2, 2), rank), 4);
}

}  // namespace
}  // namespace sherd::app
