#pragma once
// A game in progress: where it stands, and whether the rules end it (FIDE Laws of Chess 2023, articles 5, 9 and 1.5).
#include <string_view>
#include <vector>

#include "chess/moves.hpp"

namespace sherd::chess {

enum class End {
  none,
  checkmate,
  stalemate,
  insufficient_material,
  fivefold_repetition,
  seventy_five_moves,
  threefold_repetition,  // a player may claim this and the next
  fifty_moves,
};

/// Whether draws that need a player's claim count.
enum class Draws { automatic, claimed };

class Game {
 public:
  explicit Game(const Position& start = start_position()) : position_(start) {}
  const Position& position() const { return position_; }
  void play(Move m);
  End end(Draws draws) const;
  /// How often this position has stood on the board, now included.
  int occurrences() const;

 private:
  Position position_;
  std::vector<Position> earlier_;  // since the last capture or pawn's move: none before can come again
};

/// Bare kings, one knight or bishop more, or bishops that all stand on one colour.
bool insufficient_material(const Position& p);

std::string_view name_of(End end);
/// "1-0", "0-1" or "1/2-1/2"; "*" for none.
std::string_view result_of(End end, Color to_move);

}  // namespace sherd::chess
