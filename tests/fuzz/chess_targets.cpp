// FEN and PGN: what is taken must be playable, and games' moves are legal when they are played again.
#include <sstream>

#include "chess/game.hpp"
#include "chess/pgn.hpp"
#include "chess/san.hpp"
#include "sherd/base/error.hpp"
#include "target.hpp"

namespace sherd::test {
namespace {

using namespace sherd::chess;

std::vector<std::string> fen_seeds(const std::filesystem::path& /*scratch*/) {
  return {"rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
          "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
          "rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8",
          "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 3", "8/P7/8/8/8/k7/8/K7 w - - 99 120"};
}

void run_fen(const std::string& input, const std::filesystem::path& /*scratch*/) {
  const Position position = parse_fen(input);
  SHERD_CHECK(fen(parse_fen(fen(position))) == fen(position), "{} is written as {}", input, fen(position));
  for (const Move m : legal_moves(position)) {
    Move again;
    SHERD_CHECK(parse_san(position, san(position, m), again) == nullptr && uci(again) == uci(m), "{}: {} is read as {}",
                input, san(position, m), uci(again));
    Position after = position;
    apply(after, m);
    SHERD_CHECK(legal_moves(after).size() <= 218, "{} {}: {} moves", input, uci(m), legal_moves(after).size());
  }
}

class TextSource : public ByteSource {
 public:
  explicit TextSource(const std::string& text) : text_(text) {}
  std::size_t read(std::span<char> out) override {
    text_.read(out.data(), static_cast<std::streamsize>(std::min<std::size_t>(out.size(), 37)));
    return static_cast<std::size_t>(text_.gcount());
  }

 private:
  std::istringstream text_;
};

std::vector<std::string> pgn_seeds(const std::filesystem::path& /*scratch*/) {
  return {R"([Event "Rated Blitz game"]
[Result "1-0"]
[WhiteElo "2000"]
[Termination "Normal"]

1. e4 { [%clk 0:03:00] } 1... e5 $1 2. Nf3 (2. f4 exf4 {King's (Gambit)} (2... d5)) 2... Nc6 3. Bb5! a6
4. Ba4 Nf6 5. O-O Be7 ; a rest of a line
6. Re1 b5 7. Bb3 d6 1-0

[Event "another"]
[Result "1/2-1/2"]

1. d4 d5 2. c4 dxc4 3. e3 b5 4. a4 c6 5. axb5 cxb5 6. Qf3 1/2-1/2
)",
          "1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 4. Qxf7# 1-0\n\n1. h4 g5 2. hxg5 h6 3. gxh6 d6 4. h7 a6 5. hxg8=Q *\n"};
}

void run_pgn(const std::string& input, const std::filesystem::path& /*scratch*/) {
  PgnReader reader(std::make_unique<TextSource>(input));
  std::int64_t broken = 0;
  for (GameRecord record; reader.next(record);) {
    if (record.verdict == Verdict::broken) ++broken;
    if (record.verdict != Verdict::kept) continue;
    chess::Game game;
    std::istringstream moves(record.moves);
    for (std::string word; moves >> word;) {
      Move m;
      SHERD_CHECK(parse_uci(game.position(), word, m) == nullptr, "game {}: {} is illegal", record.number, word);
      game.play(m);
    }
  }
  if (broken > 0) throw bad_input("{} broken games", broken);
}

}  // namespace

std::vector<FuzzTarget> chess_targets() {
  return {{"fen", fen_seeds, run_fen}, {"pgn", pgn_seeds, run_pgn}};
}

}  // namespace sherd::test
