// A UCI engine for tests: its move depends on the position, the nodes it is given and how many games it has played, so
// that a caller who does not begin every game anew is found out. SHERD_PRETEND makes it misbehave: illegal, garbage,
// die, silent or endless, at its third move.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include "chess/game.hpp"
#include "chess/san.hpp"
#include "sherd/base/rng.hpp"

namespace {

using namespace sherd;
using namespace sherd::chess;

class Engine {
 public:
  /// False on "quit".
  bool obey(const std::string& line) {
    if (line == "quit") return false;
    if (line == "uci") std::cout << "id name pretend\noption name Hash type spin default 16\nuciok\r\n";
    if (line == "isready") std::cout << "readyok\n";
    if (line == "ucinewgame") moves_since_ = 0;
    if (line.starts_with("position startpos")) set_up(line);
    if (line.starts_with("go nodes ")) go(line);
    std::cout.flush();
    return true;
  }

 private:
  void set_up(const std::string& line) {
    game_ = Game();
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 3 && words >> word; ++i) continue;
    Move m;
    while (words >> word && parse_uci(game_.position(), word, m) == nullptr) game_.play(m);
  }

  void go(const std::string& line) {
    ++moves_since_;
    const char* mode = std::getenv("SHERD_PRETEND");
    if (mode != nullptr && moves_since_ == 3) return misbehave(mode);
    const MoveList moves = legal_moves(game_.position());
    const std::uint64_t draw = stable_hash(fen(game_.position()) + line + std::to_string(moves_since_));
    std::cout << "info depth 1 score cp 0\nbestmove " << uci(moves[draw % moves.size()]) << " ponder e2e4\n";
  }

  static void misbehave(const std::string& mode) {
    if (mode == "illegal") std::cout << "bestmove a1a1\n";
    if (mode == "garbage") std::cout << "bestmove \xff\xfe\n";
    if (mode == "die") std::_Exit(1);
    if (mode == "silent") std::this_thread::sleep_for(std::chrono::seconds(100));
    if (mode == "endless") std::cout << std::string(3 << 20, 'x');
  }

  Game game_;
  int moves_since_ = 0;
};

}  // namespace

int main() {
  Engine engine;
  for (std::string line; std::getline(std::cin, line) && engine.obey(line);) continue;
}
