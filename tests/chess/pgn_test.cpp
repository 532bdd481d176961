#include "chess/pgn.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

using testing::HasSubstr;

/// Text in pieces of a given size, as a pipe gives it.
class TextSource : public ByteSource {
 public:
  explicit TextSource(std::string text, std::size_t piece = 1 << 16) : text_(std::move(text)), piece_(piece) {}
  std::size_t read(std::span<char> out) override {
    const std::size_t n = std::min({out.size(), piece_, text_.size() - at_});
    std::copy_n(text_.data() + at_, n, out.data());
    at_ += n;
    return n;
  }

 private:
  std::string text_;
  std::size_t piece_, at_ = 0;
};

std::vector<GameRecord> games_in(const std::string& text, std::size_t piece = 1 << 16) {
  PgnReader reader(std::make_unique<TextSource>(text, piece));
  std::vector<GameRecord> games;
  for (GameRecord game; reader.next(game);) games.push_back(game);
  return games;
}

/// The one game of a text: its moves and result, or its fault.
std::string only(const std::string& text) {
  const std::vector<GameRecord> games = games_in(text);
  if (games.size() != 1) return fmt::format("{} games", games.size());
  const GameRecord& game = games.front();
  if (game.verdict == Verdict::broken) return game.fault;
  if (game.verdict != Verdict::kept) return fmt::format("verdict {}", static_cast<int>(game.verdict));
  return game.moves + std::string(game.result);
}

Verdict verdict_on(const std::string& text) {
  const std::vector<GameRecord> games = games_in(text);
  EXPECT_EQ(games.size(), 1u);
  return games.empty() ? Verdict::kept : games.front().verdict;
}

constexpr const char* kLichess = R"([Event "Rated Blitz game"]
[Site "https://lichess.org/abcdefgh"]
[White "a"]
[Black "b"]
[Result "1-0"]
[WhiteElo "1500"]
[BlackElo "1612"]
[Termination "Normal"]

1. e4 { [%eval 0.17] [%clk 0:03:00] } 1... e5 { [%clk 0:03:00] } 2. Nf3! { [%clk 0:02:58] } 2... Nc6?! 3. O-O $1 1-0
)";
constexpr const char* kGood = "[Event \"x\"]\n[Result \"1-0\"]\n\n1. e4 e5 1-0\n\n";

TEST(Pgn, MovesOfAnnotatedGames) {
  EXPECT_EQ(only(R"([Event "x"]
[Result "1/2-1/2"]

1. e4 { [%eval 0.17] [%clk 0:03:00] } 1... e5 { [%clk 0:03:00] } 2. Nf3! { [%clk 0:02:58] } 2... Nc6?! 3. Bc4 $1 $14
3... Bc5 4. O-O 1/2-1/2
)"),
            "e2e4 e7e5 g1f3 b8c6 f1c4 f8c5 e1g1 1/2-1/2");
}

TEST(Pgn, TagsAreHandedOn) {
  const std::vector<GameRecord> games = games_in(kLichess);
  ASSERT_EQ(games.size(), 1u);
  EXPECT_THAT(games[0].fault, HasSubstr("line 10: an illegal move: O-O"));
  EXPECT_EQ(games[0].line, 1);
  EXPECT_EQ(games[0].number, 1);
}

TEST(Pgn, Oddities) {
  const std::string moves = "e2e4 e7e5 1-0";
  EXPECT_EQ(only("1. e4 e5 1-0"), moves);       // no tags, no line break at the end
  EXPECT_EQ(only("1.e4 e5 1-0"), moves);        // no space after the number
  EXPECT_EQ(only("1. e4 1... e5 1-0"), moves);  // numbers of Black's moves
  EXPECT_EQ(only("e4 e5 1-0"), moves);          // no numbers
  EXPECT_EQ(only("1 e4 e5 1-0"), moves);        // no dots
  EXPECT_EQ(only("1. e4 (1. d4 d5 (1... Nf6 {)} 2. c4) 2. c4) e5 1-0"), moves);
  EXPECT_EQ(only("1. e4 (1. Zz9 Kxx) e5 1-0"), moves);  // moves of variations are not looked at
  EXPECT_EQ(only("1. e4 ; king's pawn } ( 1. d4\n1... e5 1-0"), moves);
  EXPECT_EQ(only("1. e4 (1. d4 ; a ) in a comment\n) e5 1-0"), moves);
  EXPECT_EQ(only("1. e4 {a (b ; c [Event \n d} e5 {} 1-0"), moves);
  EXPECT_EQ(only("1. e4{a}e5{b}1-0"), moves);  // no spaces
  EXPECT_EQ(only("1. e4 $1 e5 $139 1-0"), moves);
  EXPECT_EQ(only("1. e4 !! e5 ?! 1-0"), moves);  // annotations on their own
  EXPECT_EQ(only("% escape\n1. e4\n% e4 e4 {\ne5 1-0"), moves);
  EXPECT_EQ(only("\r\n[Event \"x\"]\r\n[Result \"1-0\"]\r\n\r\n1. e4\r\ne5\r\n1-0\r\n"), moves);
  EXPECT_EQ(only("\xEF\xBB\xBF[Event \"x\"]\n\n1. e4 e5 1-0"), moves);
  EXPECT_EQ(only("{before} ; all\n[Event \"x\"]\n1. e4 e5 1-0 {after} ; all"), moves);
  EXPECT_EQ(only("[Event \"a \\\"b\\\" ]\"]\n[Site \"c \"d\" e\"]\n\n1. e4 e5 1-0"), moves);  // quotes in values
  EXPECT_EQ(only("[Event \"x\"] [Site \"y\"]\n1. e4 e5 1-0"), moves);
  EXPECT_EQ(only("[ Event  \"x\" ]\n\n\n[Site \"y\"]\n\n1. e4 e5 1-0"), moves);
  EXPECT_EQ(only("[Event \"x\"]\n[Result \"*\"]\n1. e4 e5 1-0"), moves);
  EXPECT_EQ(only("1. e4 e5 1/2"), "e2e4 e7e5 1/2-1/2");
  EXPECT_EQ(only("1. e4 e5 *"), "e2e4 e7e5 *");
  EXPECT_EQ(only("1. e4 a6 2. e5 d5 3. exd6 e.p. 0-1"), "e2e4 a7a6 e4e5 d7d5 e5d6 0-1");
  EXPECT_EQ(only("1. Nf3 Nf6 2. g3 g6 3. Bg2 Bg7 4. 0-0 0-0 1-0"), "g1f3 g8f6 g2g3 g7g6 f1g2 f8g7 e1g1 e8g8 1-0");
}

TEST(Pgn, OtherChessIsLeftOut) {
  const std::string moves = "\n1. e4 e5 1-0\n";
  for (const char* kind : {"Chess960", "Atomic", "Crazyhouse"}) {
    EXPECT_EQ(verdict_on(fmt::format("[Variant \"{}\"]\n{}", kind, moves)), Verdict::variant) << kind;
  }
  for (const char* kind : {"Standard", "standard", "Chess", ""}) {
    EXPECT_EQ(verdict_on(fmt::format("[Variant \"{}\"]\n{}", kind, moves)), Verdict::kept) << kind;
  }
  EXPECT_EQ(verdict_on("[Variant \"From Position\"]\n[FEN \"4k3/8/8/8/8/8/8/4K3 w - - 0 1\"]" + moves),
            Verdict::set_up);
  EXPECT_EQ(verdict_on("[SetUp \"1\"]\n[FEN \"4k3/8/8/8/8/8/8/4K3 w - - 0 1\"]" + moves), Verdict::set_up);
  EXPECT_EQ(verdict_on("[SetUp \"1\"]" + moves), Verdict::set_up);
  EXPECT_EQ(verdict_on("[FEN \"not a FEN\"]" + moves), Verdict::set_up);
  EXPECT_EQ(verdict_on("[FEN \"rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1\"]" + moves), Verdict::kept);
  EXPECT_EQ(verdict_on("[SetUp \"0\"]" + moves), Verdict::kept);
}

TEST(Pgn, GamesWithoutMoves) {
  EXPECT_EQ(verdict_on("[Event \"x\"]\n[Result \"1-0\"]\n\n1-0\n"), Verdict::no_moves);
  EXPECT_EQ(verdict_on("[Event \"x\"]\n"), Verdict::no_moves);
  const std::vector<GameRecord> games = games_in(std::string("[Event \"x\"]\n[Site \"y\"]\n\n") + kGood);
  ASSERT_EQ(games.size(), 2u);
  EXPECT_EQ(games[0].verdict, Verdict::no_moves);
  EXPECT_EQ(games[1].verdict, Verdict::kept);
  EXPECT_EQ(games_in("").size(), 0u);
  EXPECT_EQ(games_in(" \r\n\n% nothing\n; nothing").size(), 0u);
}

/// A broken game in the middle costs no other game, and is told by number and line.
TEST(Pgn, ReadingGoesOnAfterABrokenGame) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"1. e4 e5\n2. Ke3 Nf6 1-0\n", "line 10: an illegal move: Ke3"},
      {"1. Nf3 Nf6 2. Nd2 1-0\n", "an illegal move: Nd2"},
      {"1. e4 -- 1-0\n", "a null move"},
      {"1. e4 xyzzy 1-0\n", "not a move in SAN: xyzzy"},
      {"1. e4 e5 ) 2. Nf3 1-0\n", "not a PGN token: )"},
      {"1. e4 e5 } 2. Nf3 1-0\n", "not a PGN token: }"},
      {"1. e4 e5 <x> 1-0\n", "not a PGN token: <"},
      {"1. e4 \"e5\" 1-0\n", "not a PGN token"},
      {"1. e4 e5 [x] 1-0\n", "not a PGN token"},
      {"1. e4 \xE2\x99\x98"
       "f6 1-0\n",
       "not a PGN token"},
      {std::string("1. e4 \0 e5 1-0\n", 15), "not a PGN token"},
      {"1. e4 e5\n", "the moves end without a result"},
      {"1. e4 e5 0-1\n", "another result than in the tags: 0-1"},
      {"1. e4 {never closed e5 1-0\n", "a comment that is never closed"},
      {"1. e4 (1. d4 {x} d5 1-0\n", "a variation that is never closed"},
      {"1. e4 ((((((((1-0\n", "a variation that is never closed"},
  };
  const std::string padding =
      "[White \"a name that makes the tags as long as they are in files, and longer than 64\"]\n";
  for (const auto& [moves, fault] : cases) {
    const std::string text = kGood + ("[Event \"y\"]\n[Result \"1-0\"]\n\n" + moves) + "\n[Event \"z\"]\n" + padding +
                             "\n1. d4 {closed} d5 0-1\n";
    for (const std::size_t piece : {1u, 7u, 4096u}) {
      const std::vector<GameRecord> games = games_in(text, piece);
      ASSERT_EQ(games.size(), 3u) << moves;
      EXPECT_EQ(games[0].verdict, Verdict::kept);
      EXPECT_EQ(games[1].verdict, Verdict::broken) << moves;
      EXPECT_THAT(games[1].fault, HasSubstr(fault)) << moves;
      EXPECT_EQ(games[1].number, 2);
      EXPECT_EQ(games[1].line, 6);
      EXPECT_EQ(games[2].moves + std::string(games[2].result), "d2d4 d7d5 0-1") << moves;
    }
  }
}

TEST(Pgn, MalformedTagsBreakTheirGameOnly) {
  for (const char* tag : {"[Event x]", "[Event \"x]", "[\"x\"]", "[Event \"x\"", "[", "[]", "[Event \"x\\"}) {
    const std::vector<GameRecord> games = games_in(std::string(tag) + "\n\n1. e4 e5 1-0\n\n" + kGood);
    ASSERT_EQ(games.size(), 2u) << tag;
    EXPECT_EQ(games[0].fault, "line 1: a malformed tag: [") << tag;
    EXPECT_EQ(games[1].verdict, Verdict::kept) << tag;
  }
}

TEST(Pgn, AGameOfMoreThanOneMebibyteIsRefused) {
  const std::string filler(kLongestGame + 1, 'x');
  for (const std::string& moves : {"1. e4 {" + filler + "} e5 1-0\n", "1. e4 {" + filler, "1. e4 " + filler + " 1-0\n",
                                   "1. e4 {" + std::string(4 * kLongestGame, '\n') + "} 1-0\n"}) {
    const std::vector<GameRecord> games = games_in("[Event \"y\"]\n\n" + moves + "\n" + kGood + kGood);
    ASSERT_EQ(games.size(), 3u) << moves.substr(0, 20);
    EXPECT_EQ(games[0].verdict, Verdict::too_long);
    EXPECT_EQ(games[1].verdict, Verdict::kept);
    EXPECT_EQ(games[2].number, 3);
    EXPECT_EQ(games[2].line, games[1].line + 5);
  }
  EXPECT_EQ(verdict_on("1. e4 {" + filler.substr(100) + "} e5 1-0\n"), Verdict::kept);
  EXPECT_EQ(only(std::string(3 * kLongestGame, '\n') + "1. e4 e5 1-0\n"), "e2e4 e7e5 1-0");
}

/// Wherever a block ends inside a game, the game is read as if it did not.
TEST(Pgn, BlocksMayEndAnywhere) {
  std::string text;
  while (text.size() < 600'000) text += kGood + std::string(text.size() % 13, ' ');
  std::int64_t kept = 0;
  for (const GameRecord& game : games_in(text, 4099)) {
    ASSERT_EQ(game.moves, "e2e4 e7e5 ") << game.number;
    ++kept;
  }
  EXPECT_GT(kept, 10'000);
}

TEST(Pgn, EveryCutAndEveryChangedByteIsSurvived) {
  const std::string text = std::string(kLichess) + "\n" + kGood;
  for (std::size_t i = 0; i < text.size(); ++i) {
    games_in(text.substr(0, i));
    for (const char c : {'\0', '"', '[', ']', '{', '}', '(', ')', ';', '%', '\n', '*', '1', '-', 'O', '\\', '\xff'}) {
      std::string changed = text;
      changed[i] = c;
      for (const GameRecord& game : games_in(changed)) {
        EXPECT_EQ(static_cast<std::int64_t>(std::count(game.moves.begin(), game.moves.end(), ' ')), game.plies);
      }
    }
  }
}

}  // namespace
}  // namespace sherd::chess
