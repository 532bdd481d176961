#pragma once
// The rules of moving: legal moves, and the position after one.
#include "chess/position.hpp"

namespace sherd::chess {

/// Room for every position that parse_fen accepts: at most 218 moves are known to be possible.
class MoveList {
 public:
  void add(Move m) { moves_[size_++] = m; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Move* begin() const { return moves_.data(); }
  const Move* end() const { return moves_.data() + size_; }
  Move operator[](std::size_t i) const { return moves_[i]; }

 private:
  std::array<Move, 256> moves_;
  std::size_t size_ = 0;
};

/// In an order that depends on the position only.
MoveList legal_moves(const Position& p);

/// A move by the rules of its piece leaves its own king attacked or not. Not for castling.
bool king_stays_safe(const Position& p, Move m);
/// A pawn of the side to move may capture the one that has just passed `target`.
bool en_passant_is_legal(const Position& p, Square target);
/// The king may castle now: right, free squares, and no attacked square on the king's way.
bool may_castle(const Position& p, Wing wing);
Move castling_move(Color c, Wing wing);

/// The position after a legal move.
void apply(Position& p, Move m);

/// Leaves of the tree of legal moves, `depth` plies deep.
std::uint64_t perft(const Position& p, int depth);

}  // namespace sherd::chess
