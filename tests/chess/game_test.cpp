#include <gtest/gtest.h>

#include "moves_text.hpp"

namespace sherd::chess {
namespace {

using test::after;
using test::play;

End end_of(const char* fen, Draws draws = Draws::automatic) {
  return Game(parse_fen(fen)).end(draws);
}

TEST(GameEnd, Checkmate) {
  const Game game = after("f2f3 e7e5 g2g4 d8h4");
  EXPECT_EQ(game.end(Draws::automatic), End::checkmate);
  EXPECT_EQ(result_of(End::checkmate, game.position().turn), "0-1");
  EXPECT_EQ(result_of(End::checkmate, Color::black), "1-0");
}

TEST(GameEnd, CheckmateComesBeforeAnyDraw) {
  EXPECT_EQ(end_of("R5k1/5ppp/8/8/8/8/8/6K1 b - - 150 100"), End::checkmate);
}

TEST(GameEnd, Stalemate) {
  EXPECT_EQ(end_of("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1"), End::stalemate);
  EXPECT_EQ(end_of("7k/5Q2/6K1/8/8/8/8/8 w - - 0 1"), End::none);
  EXPECT_EQ(result_of(End::stalemate, Color::black), "1/2-1/2");
}

TEST(GameEnd, InsufficientMaterial) {
  for (const char* dead :
       {"4k3/8/8/8/8/8/8/4K3 w - - 0 1", "4k3/8/8/8/8/8/8/3NK3 w - - 0 1", "4kb2/8/8/8/8/8/8/4K3 w - - 0 1",
        "4kb2/8/8/8/8/8/8/2B1K3 w - - 0 1", "2b1k3/1b6/8/8/8/8/8/4K3 w - - 0 1"}) {
    EXPECT_EQ(end_of(dead), End::insufficient_material) << dead;
  }
  for (const char* alive :
       {"4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", "4k3/8/8/8/8/8/8/2NNK3 w - - 0 1", "4kb2/8/8/8/8/8/8/4KB2 w - - 0 1",
        "4kb2/8/8/8/8/8/8/3NK3 w - - 0 1", "4kn2/8/8/8/8/8/8/3NK3 w - - 0 1", "4k3/8/8/8/8/8/8/R3K3 w - - 0 1"}) {
    EXPECT_EQ(end_of(alive), End::none) << alive;
  }
}

TEST(GameEnd, FiftyAndSeventyFiveMoves) {
  EXPECT_EQ(end_of("4k3/8/8/8/8/8/8/R3K3 w - - 99 90", Draws::claimed), End::none);
  EXPECT_EQ(end_of("4k3/8/8/8/8/8/8/R3K3 w - - 100 90", Draws::claimed), End::fifty_moves);
  EXPECT_EQ(end_of("4k3/8/8/8/8/8/8/R3K3 w - - 149 90"), End::none);
  EXPECT_EQ(end_of("4k3/8/8/8/8/8/8/R3K3 w - - 150 90"), End::seventy_five_moves);
}

TEST(GameEnd, Repetition) {
  Game game;
  const std::string round = "g1f3 g8f6 f3g1 f6g8 ";
  play(game, round);
  EXPECT_EQ(game.occurrences(), 2);
  EXPECT_EQ(game.end(Draws::claimed), End::none);
  play(game, round);
  EXPECT_EQ(game.end(Draws::claimed), End::threefold_repetition);
  EXPECT_EQ(game.end(Draws::automatic), End::none);
  play(game, round + round);
  EXPECT_EQ(game.end(Draws::automatic), End::fivefold_repetition);
}

TEST(GameEnd, LostRightsMakeAnotherPosition) {
  Game game = after("e2e4 e7e5");
  play(game, "e1e2 e8e7 e2e1 e7e8");
  EXPECT_EQ(game.occurrences(), 1);  // nobody may castle now
  play(game, "e1e2 e8e7 e2e1 e7e8");
  EXPECT_EQ(game.occurrences(), 2);
  // After the fifth move Black could capture en passant; later not.
  Game passed = after("a2a3 d7d5 a3a4 d5d4 e2e4");
  play(passed, "g8f6 g1f3 f6g8 f3g1");
  EXPECT_EQ(passed.occurrences(), 1);
}

}  // namespace
}  // namespace sherd::chess
