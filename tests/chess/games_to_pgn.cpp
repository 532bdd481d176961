// games_to_pgn GAMES.jsonl MEGABYTES [plain]: the games of a corpus as PGN in the manner of database.lichess.org, over
// and over until so many megabytes are written (0: once); plain leaves out the comments with clocks and evaluations.
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "chess/moves.hpp"
#include "chess/san.hpp"
#include "sherd/base/error.hpp"

namespace {

using namespace sherd;
using namespace sherd::chess;

std::string tags(std::int64_t number, const std::string& result) {
  const auto n = static_cast<int>(number);
  return fmt::format(
      "[Event \"Rated Blitz game\"]\n[Site \"https://lichess.org/{:08x}\"]\n[Date \"2024.01.01\"]\n[Round \"-\"]\n"
      "[White \"player_{}\"]\n[Black \"another_{}\"]\n[Result \"{}\"]\n[UTCDate \"2024.01.01\"]\n"
      "[UTCTime \"00:00:{:02}\"]\n[WhiteElo \"{}\"]\n[BlackElo \"{}\"]\n[WhiteRatingDiff \"+6\"]\n"
      "[BlackRatingDiff \"-6\"]\n[ECO \"C20\"]\n[Opening \"King's Pawn Game: Leonardis Variation\"]\n"
      "[TimeControl \"180+2\"]\n[Termination \"{}\"]\n\n",
      n, n % 9973, n % 7919, result, n % 60, 800 + n % 2000, 800 + n * 7 % 2000,
      n % 5 == 0 ? "Time forfeit" : "Normal");
}

/// As Lichess writes it: every game has clocks, one in eight the computer's evaluation as well.
std::string comment(std::int64_t number, int ply) {
  const int left = 180 - ply % 180;
  const std::string clock = fmt::format("[%clk 0:{:02}:{:02}]", left / 60, left % 60);
  return number % 8 == 0 ? fmt::format(" {{ [%eval {:.2f}] {} }}", 0.01 * (ply * 37 % 400 - 200), clock)
                         : fmt::format(" {{ {} }}", clock);
}

std::string game_text(std::istringstream& words, std::int64_t number, bool plain, std::string& result) {
  Position p = start_position();
  std::string text;
  int ply = 0;
  for (std::string word; words >> word; ++ply) {
    Move m;
    if (parse_uci(p, word, m) != nullptr) {
      result = word;
      break;
    }
    if (ply % 2 == 0) {
      text += fmt::format("{}. ", ply / 2 + 1);
    } else if (!plain) {
      text += fmt::format("{}... ", ply / 2 + 1);
    }
    text += san(p, m);
    if (!plain) text += comment(number, ply);
    text += ' ';
    apply(p, m);
  }
  return text + result + "\n\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::int64_t wanted = std::stoll(argv[2]) * 1'000'000;
  std::vector<std::string> texts;
  std::ifstream file(argv[1]);
  for (std::string line; std::getline(file, line);) {
    const std::size_t open = line.find('"', line.find(':')) + 1;
    std::istringstream words(line.substr(open, line.rfind('"') - open));
    const auto number = static_cast<std::int64_t>(texts.size());
    std::string result;
    const std::string moves = game_text(words, number, argc > 3, result);
    texts.push_back(tags(number, result) + moves);
  }
  std::int64_t written = 0;
  do {
    for (const std::string& text : texts) {
      std::cout << text;
      written += static_cast<std::int64_t>(text.size());
      if (wanted != 0 && written >= wanted) break;
    }
  } while (written < wanted && !texts.empty());
  return std::cout.flush() ? 0 : 1;
}
