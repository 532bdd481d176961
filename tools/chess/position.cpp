#include "chess/position.hpp"

namespace sherd::chess {

Piece Position::piece_on(Square s) const {
  for (std::size_t i = 0; i < by_piece.size(); ++i) {
    if ((by_piece[i] & bit(s)) != 0) return static_cast<Piece>(i);
  }
  return Piece::none;
}

bool same_position(const Position& a, const Position& b) {
  return a.by_piece == b.by_piece && a.by_color == b.by_color && a.turn == b.turn && a.castling == b.castling &&
         a.en_passant == b.en_passant;
}

Bitboard attackers(const Position& p, Square s, Color by, Bitboard occupied) {
  const Bitboard queens = p.of(Piece::queen);
  Bitboard found = kKnightAttacks[s] & p.of(Piece::knight);
  found |= kKingAttacks[s] & p.of(Piece::king);
  found |= kPawnAttacks[index(~by)][s] & p.of(Piece::pawn);
  found &= p.of(by);
  // Only sliders on a line with s can reach it, and there are few: looking at what lies between is cheaper than
  // computing the attacks of a queen on s.
  Bitboard sliders =
      (kRookLines[s] & (p.of(Piece::rook) | queens)) | (kBishopLines[s] & (p.of(Piece::bishop) | queens));
  sliders &= p.of(by);
  while (sliders != 0) {
    const Square from = pop(sliders);
    if ((kBetween[s][from] & occupied) == 0) found |= bit(from);
  }
  return found;
}

bool in_check(const Position& p) {
  return attackers(p, p.king(p.turn), ~p.turn, p.occupied()) != 0;
}

}  // namespace sherd::chess
