#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moves_text.hpp"
#include "perft_positions.hpp"

namespace sherd::chess {
namespace {

using test::after;
using test::message_of;
using testing::HasSubstr;

TEST(Fen, WhatIsReadIsWritten) {
  for (const test::PerftPosition& known : test::kPerftPositions) EXPECT_EQ(fen(parse_fen(known.fen)), known.fen);
  EXPECT_EQ(parse_fen(fen(start_position())), start_position());
  EXPECT_EQ(fen(parse_fen("4k3/8/8/8/8/8/8/4K3 b - -")), "4k3/8/8/8/8/8/8/4K3 b - - 0 1");
}

TEST(Fen, CountersAndRightsFollowTheMoves) {
  EXPECT_EQ(fen(after("e2e4").position()), "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1");
  EXPECT_EQ(fen(after("g1f3 b8c6 h1g1").position()), "r1bqkbnr/pppppppp/2n5/8/8/5N2/PPPPPPPP/RNBQKBR1 b Qkq - 3 2");
  EXPECT_EQ(fen(after("e2e4 e7e5 e1e2").position()), "rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPPKPPP/RNBQ1BNR b kq - 1 2");
  // A rook that is captured at home takes the right with it.
  EXPECT_EQ(fen(after("b2b3 g7g6 c1b2 g8f6 b2f6 a7a6 f6h8").position()),
            "rnbqkb1B/1ppppp1p/p5p1/8/8/1P6/P1PPPPPP/RN1QKBNR b KQq - 0 4");
}

TEST(Fen, EnPassantIsNamedOnlyWhereTheCaptureIsLegal) {
  EXPECT_EQ(fen(after("e2e4 a7a6 e4e5 d7d5").position()),
            "rnbqkbnr/1pp1pppp/p7/3pP3/8/8/PPPP1PPP/RNBQKBNR w KQkq d6 0 3");
  // Both pawns leave the fourth rank, and the rook on it would take the king.
  EXPECT_EQ(parse_fen("8/8/8/8/k2Pp2R/8/8/4K3 b - d3 0 1").en_passant, kNoSquare);
  EXPECT_NE(parse_fen("8/8/8/8/k2Pp3/8/8/4K2R b - d3 0 1").en_passant, kNoSquare);
}

TEST(Fen, HostileInputIsRefused) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "4 or 6 fields"},
      {std::string(1 << 20, 'k'), "longer than any"},
      {"8/8/8/8/8/8/8/8 w - - 0 1", "exactly one king"},
      {"kk6/8/8/8/8/8/8/K7 w - - 0 1", "exactly one king"},
      {"k7/8/8/8/8/8/8/K7 w - - 0", "4 or 6 fields"},
      {"k7/8/8/8/8/8/8/K7  w - - 0 1", "4 or 6 fields"},
      {"k7/8/8/8/8/8/8/K7 x - - 0 1", "w or b"},
      {"k7/8/8/8/8/8/K7 w - - 0 1", "fewer than 8 ranks"},
      {"k7/8/8/8/8/8/8/8/K7 w - - 0 1", "more than 8 ranks"},
      {"k8/8/8/8/8/8/8/K7 w - - 0 1", "not 8 squares"},
      {"k6/8/8/8/8/8/8/K7 w - - 0 1", "not 8 squares"},
      {"k7/ppppppppp/8/8/8/8/8/K7 w - - 0 1", "more than 8 squares"},
      {"k7/44/8/8/8/8/8/K7 w - - 0 1", "two digits"},
      {"k7/9/8/8/8/8/8/K7 w - - 0 1", "PNBRQK"},
      {"k7/0p7/8/8/8/8/8/K7 w - - 0 1", "PNBRQK"},
      {std::string("k7/8/8/8/\0/8/8/K7 w - - 0 1", 27), "PNBRQK"},
      {"k6P/8/8/8/8/8/8/K7 w - - 0 1", "a pawn on"},
      {"k6p/8/8/8/8/8/8/K7 w - - 0 1", "a pawn on"},
      {"k7/pppppppp/p7/8/8/8/8/K7 w - - 0 1", "more men"},
      {"kqqqqqqq/qqqqqqqq/8/8/8/8/8/7K w - - 0 1", "more men"},
      {"kR6/8/8/8/8/8/8/K7 w - - 0 1", "not to move is in check"},
      {"kK6/8/8/8/8/8/8/8 w - - 0 1", "not to move is in check"},
      {"4k3/8/8/8/8/8/8/4K3 w K - 0 1", "castling right, but"},
      {"r3k2r/8/8/8/8/8/8/4K3 w qk - 0 1", "in this order"},
      {"r3k2r/8/8/8/8/8/8/4K3 w kk - 0 1", "in this order"},
      {"4k3/8/8/8/8/8/8/4K3 w x - 0 1", "KQkq"},
      {"4k3/8/8/8/8/8/8/4K3 w - e6 0 1", "no pawn can have"},
      {"4k3/4p3/8/4p3/8/8/8/4K3 w - e6 0 1", "no pawn can have"},
      {"4k3/8/8/4p3/8/8/8/4K3 w - e3 0 1", "6th rank"},
      {"4k3/8/8/4p3/8/8/8/4K3 w - e 0 1", "- or a square"},
      {"4k3/8/8/4p3/8/8/8/4K3 w - i6 0 1", "- or a square"},
      {"4k3/8/8/8/8/8/8/4K3 w - - -1 1", "at most 4 digits"},
      {"4k3/8/8/8/8/8/8/4K3 w - - 99999999999999999999 1", "at most 4 digits"},
      {"4k3/8/8/8/8/8/8/4K3 w - - 0 1x", "at most 4 digits"},
      {"4k3/8/8/8/8/8/8/4K3 w - - 0 ", "at most 4 digits"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_THAT(message_of([&] { parse_fen(text); }), HasSubstr(expected)) << text.substr(0, 80);
  }
}

TEST(Fen, EveryCutAndEveryChangedByteIsReadOrRefused) {
  const std::string good = test::kPerftPositions[3].fen;
  for (std::size_t i = 0; i < good.size(); ++i) {
    message_of([&] { parse_fen(good.substr(0, i)); });
    for (int c = 0; c < 256; ++c) {
      std::string changed = good;
      changed[i] = static_cast<char>(c);
      message_of([&] { EXPECT_LT(legal_moves(parse_fen(changed)).size(), 219u); });
    }
  }
}

TEST(Moves, ThePositionWithTheMostIsHeld) {
  // Nenad Petrovic, 1964.
  EXPECT_EQ(legal_moves(parse_fen("R6R/3Q4/1Q4Q1/4Q3/2Q4Q/Q4Q2/pp1Q4/kBNN1KB1 w - - 0 1")).size(), 218u);
}

TEST(Moves, CastlingNeedsAFreeAndSafeWay) {
  const auto castles = [](const char* fen) {
    const Position p = parse_fen(fen);
    return std::pair(may_castle(p, Wing::king), may_castle(p, Wing::queen));
  };
  EXPECT_EQ(castles("4k3/8/8/8/8/8/8/R3K2R w KQ - 0 1"), std::pair(true, true));
  EXPECT_EQ(castles("4k3/8/8/8/8/8/8/R3K2R w Q - 0 1"), std::pair(false, true));
  EXPECT_EQ(castles("4k3/8/8/8/4r3/8/8/R3K2R w KQ - 0 1"), std::pair(false, false));  // out of check
  EXPECT_EQ(castles("4k3/8/8/8/5r2/8/8/R3K2R w KQ - 0 1"), std::pair(false, true));   // over an attacked square
  EXPECT_EQ(castles("4k3/8/8/8/6r1/8/8/R3K2R w KQ - 0 1"), std::pair(false, true));   // into check
  EXPECT_EQ(castles("4k3/8/8/8/1r6/8/8/R3K2R w KQ - 0 1"), std::pair(true, true));    // only the rook passes b1
  EXPECT_EQ(castles("4k3/8/8/8/8/8/8/RN2K1NR w KQ - 0 1"), std::pair(false, false));
}

}  // namespace
}  // namespace sherd::chess
