#include "chess/game.hpp"

namespace sherd::chess {

void Game::play(Move m) {
  earlier_.push_back(position_);
  apply(position_, m);
  if (position_.quiet_plies == 0) earlier_.clear();
}

int Game::occurrences() const {
  int found = 1;
  for (std::size_t back = 2; back <= earlier_.size(); back += 2) {  // the same side to move
    if (same_position(earlier_[earlier_.size() - back], position_)) ++found;
  }
  return found;
}

End Game::end(Draws draws) const {
  const Position& p = position_;
  if (legal_moves(p).empty()) return in_check(p) ? End::checkmate : End::stalemate;
  if (insufficient_material(p)) return End::insufficient_material;
  const int seen = occurrences();
  if (seen >= 5) return End::fivefold_repetition;
  if (p.quiet_plies >= 150) return End::seventy_five_moves;
  if (draws == Draws::automatic) return End::none;
  if (seen >= 3) return End::threefold_repetition;
  return p.quiet_plies >= 100 ? End::fifty_moves : End::none;
}

bool insufficient_material(const Position& p) {
  if ((p.of(Piece::pawn) | p.of(Piece::rook) | p.of(Piece::queen)) != 0) return false;
  const Bitboard knights = p.of(Piece::knight), bishops = p.of(Piece::bishop);
  if (!more_than_one(knights | bishops)) return true;
  return knights == 0 && ((bishops & kLightSquares) == 0 || (bishops & ~kLightSquares) == 0);
}

std::string_view name_of(End end) {
  switch (end) {
    case End::none:
      return "not ended";
    case End::checkmate:
      return "checkmate";
    case End::stalemate:
      return "stalemate";
    case End::insufficient_material:
      return "insufficient material";
    case End::fivefold_repetition:
      return "fivefold repetition";
    case End::seventy_five_moves:
      return "seventy-five moves";
    case End::threefold_repetition:
      return "threefold repetition";
    case End::fifty_moves:
      return "fifty moves";
  }
  return "";
}

std::string_view result_of(End end, Color to_move) {
  if (end == End::none) return "*";
  if (end != End::checkmate) return "1/2-1/2";
  return to_move == Color::white ? "0-1" : "1-0";
}

}  // namespace sherd::chess
