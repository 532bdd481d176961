#pragma once
// A position of standard chess: piece sets, side to move, castling rights, en passant and the move counters.
#include <string>
#include <string_view>

#include "chess/bitboard.hpp"

namespace sherd::chess {

/// A move with the piece that makes it. Castling is the king's move, e1g1.
struct Move {
  std::uint8_t from = 0, to = 0;
  Piece piece = Piece::none;
  Piece promotion = Piece::none;
  bool operator==(const Move&) const = default;
};

enum class Wing : std::uint8_t { king, queen };

/// The bit of a castling right in Position::castling: K, Q, k, q from the lowest.
constexpr unsigned castling_right(Color c, Wing w) {
  return 1u << (2 * index(c) + static_cast<unsigned>(w));
}

struct Position {
  std::array<Bitboard, 6> by_piece{};  // both colours
  std::array<Bitboard, 2> by_color{};
  Color turn = Color::white;
  std::uint8_t castling = 0;           // castling_right bits; king and rook stand at home for each
  std::int8_t en_passant = kNoSquare;  // only where a capture en passant is legal
  std::uint16_t quiet_plies = 0;       // since the last capture or pawn's move
  std::uint16_t move_number = 1;

  bool operator==(const Position&) const = default;

  Bitboard occupied() const { return by_color[0] | by_color[1]; }
  Bitboard of(Color c) const { return by_color[index(c)]; }
  Bitboard of(Piece p) const { return by_piece[index(p)]; }
  Bitboard of(Color c, Piece p) const { return of(c) & of(p); }
  Square king(Color c) const { return lowest(of(c, Piece::king)); }
  Piece piece_on(Square s) const;
};

/// Nothing but the counters differs: the same moves are possible, so the position counts as repeated (FIDE 9.2.3).
bool same_position(const Position& a, const Position& b);

/// Pieces of one colour that attack a square, sliders through what `occupied` leaves open.
Bitboard attackers(const Position& p, Square s, Color by, Bitboard occupied);
bool in_check(const Position& p);

Position start_position();

/// Forsyth-Edwards notation, with six fields or without the two counters. Bad input where it is malformed or cannot
/// arise in a game: kings, pawns, counts of men, castling rights, en passant and the side not to move are checked.
Position parse_fen(std::string_view fen);
/// The en passant square is named only where a capture is legal.
std::string fen(const Position& p);

}  // namespace sherd::chess
