// Depth 5 of all six positions: 469 million leaves.
#include <gtest/gtest.h>

#include <chrono>

#include "chess/moves.hpp"
#include "perft_positions.hpp"

namespace sherd::chess {
namespace {

TEST(PerftDeep, DepthFiveCountsAreThePublishedOnes) {
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t leaves = 0;
  for (const test::PerftPosition& known : test::kPerftPositions) {
    const std::uint64_t found = perft(parse_fen(known.fen), 5);
    EXPECT_EQ(found, known.leaves[4]) << "position " << known.name;
    leaves += found;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("figure: perft 5 of the six positions: %.1f million leaves in %.1f s\n",
              1e-6 * static_cast<double>(leaves), seconds);
}

}  // namespace
}  // namespace sherd::chess
