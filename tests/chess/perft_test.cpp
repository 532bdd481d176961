// Depths 1 to 4, and 5 where the tree is small.
#include <gtest/gtest.h>

#include "chess/moves.hpp"
#include "perft_positions.hpp"

namespace sherd::chess {
namespace {

constexpr std::uint64_t kSmall = 5'000'000;

TEST(Perft, CountsAreThePublishedOnes) {
  for (const test::PerftPosition& known : test::kPerftPositions) {
    const Position p = parse_fen(known.fen);
    for (std::size_t i = 0; i < known.leaves.size() && known.leaves[i] < kSmall; ++i) {
      EXPECT_EQ(perft(p, static_cast<int>(i) + 1), known.leaves[i]) << "position " << known.name << ", depth " << i + 1;
    }
  }
}

TEST(Perft, TheMirroredPositionHasTheSameCount) {
  // Position 4 with colours exchanged, as the same page gives it.
  const Position p = parse_fen("r2q1rk1/pP1p2pp/Q4n2/bbp1p3/Np6/1B3NBn/pPPP1PPP/R3K2R b KQ - 0 1");
  EXPECT_EQ(perft(p, 4), 422333u);
}

}  // namespace
}  // namespace sherd::chess
