#include "chess/san.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "moves_text.hpp"

namespace sherd::chess {
namespace {

using testing::HasSubstr;

/// The move in UCI form, or what is wrong with it.
std::string read(const char* fen, std::string_view text) {
  Move m;
  const char* wrong = parse_san(parse_fen(fen), text, m);
  return wrong != nullptr ? wrong : uci(m);
}

std::string written(const char* fen, std::string_view move) {
  const Position p = parse_fen(fen);
  Move m;
  const char* wrong = parse_uci(p, move, m);
  return wrong != nullptr ? wrong : san(p, m);
}

constexpr const char* kStart = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1";
constexpr const char* kCastles = "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1";
constexpr const char* kPromotes = "3r4/4P2k/8/8/8/8/8/K7 w - - 0 1";
constexpr const char* kPinned = "4k3/8/8/8/1b6/2N5/8/4K1N1 w - - 0 1";  // only the knight on g1 can go to e2
constexpr const char* kPasses = "4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 1";

TEST(San, PawnsPiecesAndCaptures) {
  EXPECT_EQ(read(kStart, "e4"), "e2e4");
  EXPECT_EQ(read(kStart, "e3"), "e2e3");
  EXPECT_EQ(read(kStart, "Nf3"), "g1f3");
  EXPECT_EQ(read("4k3/8/8/3p4/2P1P3/8/8/4K3 w - - 0 1", "exd5"), "e4d5");
  EXPECT_EQ(read("4k3/8/8/3p4/2P1P3/8/8/4K3 w - - 0 1", "cd5"), "c4d5");
  EXPECT_EQ(read("4k3/8/8/3p4/8/8/8/3RK3 w - - 0 1", "Rxd5"), "d1d5");
  EXPECT_EQ(read("4k3/8/8/3p4/8/8/8/3RK3 w - - 0 1", "Rd5"), "d1d5");
  EXPECT_EQ(read(kPasses, "exd6"), "e5d6");
  EXPECT_EQ(read(kPasses, "exd6e.p."), "e5d6");
  EXPECT_EQ(read("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR b KQkq - 0 1", "d5"), "d7d5");
}

TEST(San, Castling) {
  for (const char* text : {"O-O", "0-0", "O-O+", "0-0!?"}) EXPECT_EQ(read(kCastles, text), "e1g1") << text;
  for (const char* text : {"O-O-O", "0-0-0", "O-O-O#"}) EXPECT_EQ(read(kCastles, text), "e1c1") << text;
  EXPECT_EQ(written(kCastles, "e1g1"), "O-O");
  EXPECT_EQ(written("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", "e8c8"), "O-O-O");
  EXPECT_THAT(read(kStart, "O-O"), HasSubstr("illegal"));
  EXPECT_THAT(read(kCastles, "O-O-O-O"), HasSubstr("not a move"));
  EXPECT_THAT(read(kCastles, "Kg1"), HasSubstr("illegal"));
}

TEST(San, Promotion) {
  EXPECT_EQ(read(kPromotes, "e8=Q"), "e7e8q");
  EXPECT_EQ(read(kPromotes, "e8Q"), "e7e8q");
  EXPECT_EQ(read(kPromotes, "e8=n+"), "e7e8n");
  EXPECT_EQ(read(kPromotes, "exd8=B"), "e7d8b");
  EXPECT_EQ(read(kPromotes, "exd8R#!!"), "e7d8r");
  EXPECT_EQ(written(kPromotes, "e7d8q"), "exd8=Q");
  EXPECT_THAT(read(kPromotes, "e8"), HasSubstr("without a promotion"));
  EXPECT_THAT(read(kPromotes, "e8=K"), HasSubstr("not a move"));
  EXPECT_THAT(read(kPromotes, "e8=P"), HasSubstr("not a move"));
  EXPECT_THAT(read(kStart, "e4=Q"), HasSubstr("promotion that is none"));
  EXPECT_THAT(read(kStart, "Nf3=Q"), HasSubstr("promotion that is none"));
}

TEST(San, Disambiguation) {
  const char* queens = "1k6/8/8/8/4Q2Q/8/8/K6Q w - - 0 1";  // e4, h4 and h1 all reach e1
  EXPECT_EQ(written(queens, "e4e1"), "Qee1");
  EXPECT_EQ(written(queens, "h1e1"), "Q1e1");
  EXPECT_EQ(written(queens, "h4e1"), "Qh4e1");
  EXPECT_EQ(read(queens, "Qee1"), "e4e1");
  EXPECT_EQ(read(queens, "Q1e1"), "h1e1");
  EXPECT_EQ(read(queens, "Qh4e1"), "h4e1");
  for (const char* text : {"Qe1", "Qhe1", "Q4e1"}) EXPECT_THAT(read(queens, text), HasSubstr("ambiguous")) << text;
  EXPECT_THAT(read(queens, "Qge1"), HasSubstr("illegal"));
}

TEST(San, MarksAreIgnored) {
  for (const char* text :
       {"Nf3+", "Nf3#", "Nf3++", "Nf3!", "Nf3??", "Nf3+!?", "Ng1f3", "Ngf3", "N1f3", "Nxf3", "Ng1-f3"}) {
    EXPECT_EQ(read(kStart, text), "g1f3") << text;
  }
  for (const char* text : {"e2e4", "e2-e4", "Pe4"}) EXPECT_EQ(read(kStart, text), "e2e4") << text;
}

TEST(San, PinnedPiecesDoNotMakeAMoveAmbiguous) {
  EXPECT_EQ(read(kPinned, "Ne2"), "g1e2");
  EXPECT_EQ(written(kPinned, "g1e2"), "Ne2");
  EXPECT_THAT(read(kPinned, "Nce2"), HasSubstr("illegal"));
}

TEST(San, WhatCannotBePlayedIsRefused) {
  EXPECT_THAT(read("4k3/8/8/8/8/8/8/RR2K3 w - - 0 1", "Rac1"), HasSubstr("illegal"));  // b1 is in the way
  EXPECT_THAT(read("4k3/8/8/8/8/R7/8/R3K3 w - - 0 1", "Ra2"), HasSubstr("ambiguous"));
  EXPECT_THAT(read("4k3/8/8/3p4/2P1P3/8/8/4K3 w - - 0 1", "xd5"), HasSubstr("ambiguous"));
  for (const char* text : {"e5", "Ke2", "Nd2", "Bc4", "exd3", "Qd2", "Ra3", "Nh1"}) {
    EXPECT_THAT(read(kStart, text), HasSubstr("illegal")) << text;
  }
  for (const char* text : {"--", "Z0", "null"}) EXPECT_THAT(read(kStart, text), HasSubstr("null move")) << text;
  for (const char* text : {"",   "+", "e",     "4",        "e9",   "i4", "Nf", "N", "NNf3", "Nf3f3x", "e4e5e6",
                           "=Q", "Q", "hello", "\xff\xfe", "e.p.", "O",  "O-", "0", "O-O-", "Nf3 ",   "e4\n"}) {
    EXPECT_THAT(read(kStart, text), HasSubstr("not a move")) << text;
  }
}

TEST(San, ChecksAndMatesAreMarked) {
  EXPECT_EQ(written("4k3/8/8/8/8/8/8/R3K3 w Q - 0 1", "a1a8"), "Ra8+");
  EXPECT_EQ(written("6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1", "a1a8"), "Ra8#");
}

TEST(Uci, OnlyLegalMovesAreRead) {
  const auto complaint = [](std::string_view text) {
    Move m;
    const char* wrong = parse_uci(start_position(), text, m);
    return std::string(wrong == nullptr ? "" : wrong);
  };
  EXPECT_EQ(complaint("g1f3"), "");
  EXPECT_THAT(complaint("0000"), HasSubstr("null move"));
  for (const char* text : {"e2e5", "e7e5", "e2e4q", "e1g1", "a1a1"}) EXPECT_THAT(complaint(text), HasSubstr("illegal"));
  for (const char* text : {"", "e2", "e2e4qq", "E2E4", "i2i4", "e2e9"}) {
    EXPECT_THAT(complaint(text), HasSubstr("not a move")) << text;
  }
}

/// Every game of the sample, forth and back.
TEST(San, RoundTripsOverTheSampleGames) {
  std::ifstream file(SHERD_CHESS_SAMPLE);
  std::int64_t games = 0, plies = 0;
  for (std::string line; std::getline(file, line); ++games) {
    const std::size_t first = line.find(':') + 1, open = line.find('"', first) + 1;
    std::istringstream words(line.substr(open, line.rfind('"') - open));
    Position p = start_position();
    for (std::string word; words >> word && word.find_first_of("-") == std::string::npos; ++plies) {
      Move m, again;
      ASSERT_EQ(parse_uci(p, word, m), nullptr) << word << " in " << fen(p);
      const std::string text = san(p, m);
      ASSERT_EQ(parse_san(p, text, again), nullptr) << text << " in " << fen(p);
      ASSERT_EQ(uci(again), word) << text << " in " << fen(p);
      apply(p, m);
      ASSERT_EQ(parse_fen(fen(p)), p) << fen(p);
    }
  }
  EXPECT_GT(games, 4000);
  std::printf("figure: SAN of %ld games, %ld moves, read back as written\n", static_cast<long>(games),
              static_cast<long>(plies));
}

/// Wherever pieces of a kind reach one square, what is written for each is read as that one.
TEST(San, EveryLegalMoveOfCrowdedPositionsIsReadBack) {
  for (const char* text :
       {"R6R/3Q4/1Q4Q1/4Q3/2Q4Q/Q4Q2/pp1Q4/kBNN1KB1 w - - 0 1", "k7/8/2N1N3/1N3N2/8/1N3N2/2N1N3/K7 w - - 0 1",
        "1k6/8/8/1B1B4/8/1B1B4/8/7K w - - 0 1", "7k/8/8/R2R4/8/8/R2R4/7K w - - 0 1"}) {
    const Position p = parse_fen(text);
    for (const Move m : legal_moves(p)) {
      Move again;
      ASSERT_EQ(parse_san(p, san(p, m), again), nullptr) << san(p, m);
      EXPECT_EQ(again, m) << san(p, m);
    }
  }
}

}  // namespace
}  // namespace sherd::chess
