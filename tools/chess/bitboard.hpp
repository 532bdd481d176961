#pragma once
// Sets of squares as 64-bit words, and what a piece attacks. Bit 0 is a1, bit 7 is h1, bit 63 is h8. Sliding attacks by
// hyperbola quintessence, o ^ (o - 2s) on a line and on its mirror image (Gerd Isenberg and Aleks Peshkov,
// chessprogramming.org/Hyperbola_Quintessence).
#include <array>
#include <bit>
#include <cstdint>

namespace sherd::chess {

using Bitboard = std::uint64_t;
using Square = int;

enum class Color : std::uint8_t { white, black };
enum class Piece : std::uint8_t { pawn, knight, bishop, rook, queen, king, none };

constexpr Color operator~(Color c) {
  return static_cast<Color>(1 - static_cast<int>(c));
}
constexpr std::size_t index(Color c) {
  return static_cast<std::size_t>(c);
}
constexpr std::size_t index(Piece p) {
  return static_cast<std::size_t>(p);
}

constexpr Square kNoSquare = -1;
constexpr Bitboard kFileA = 0x0101010101010101ull;
constexpr Bitboard kRank1 = 0xffull;
constexpr Bitboard kLightSquares = 0x55aa55aa55aa55aaull;

constexpr Square square_at(int file, int rank) {
  return 8 * rank + file;
}
constexpr int file_of(Square s) {
  return s & 7;
}
constexpr int rank_of(Square s) {
  return s >> 3;
}
constexpr Bitboard bit(Square s) {
  return Bitboard{1} << s;
}
constexpr Bitboard file_mask(int file) {
  return kFileA << file;
}
constexpr Bitboard rank_mask(int rank) {
  return kRank1 << (8 * rank);
}
constexpr Square lowest(Bitboard b) {
  return std::countr_zero(b);
}
/// Takes the lowest square out of a set that is not empty.
constexpr Square pop(Bitboard& b) {
  const Square s = lowest(b);
  b &= b - 1;
  return s;
}
constexpr bool more_than_one(Bitboard b) {
  return (b & (b - 1)) != 0;
}

using PerSquare = std::array<Bitboard, 64>;

extern const PerSquare kKnightAttacks, kKingAttacks;
extern const std::array<PerSquare, 2> kPawnAttacks;  // [colour of the pawn][its square]
extern const PerSquare kRookLines, kBishopLines;     // attacks on an empty board
extern const std::array<PerSquare, 64> kBetween;     // the squares strictly between two on a line; else none
extern const std::array<PerSquare, 64> kLine;        // the whole line through two squares, both included; else none

Bitboard rook_attacks(Square s, Bitboard occupied);
Bitboard bishop_attacks(Square s, Bitboard occupied);

}  // namespace sherd::chess
