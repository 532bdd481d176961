#include "chess/bitboard.hpp"

namespace sherd::chess {
namespace {

constexpr int kDiagonals = 4;  // in kSteps, the diagonal directions come from here on
constexpr std::array<std::array<int, 2>, 8> kSteps{
    {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {-1, -1}, {1, -1}, {-1, 1}}};
constexpr std::array<std::array<int, 2>, 8> kKnightSteps{
    {{1, 2}, {2, 1}, {2, -1}, {1, -2}, {-1, -2}, {-2, -1}, {-2, 1}, {-1, 2}}};

constexpr bool on_board(int file, int rank) {
  return file >= 0 && file < 8 && rank >= 0 && rank < 8;
}

template <class Steps>
constexpr PerSquare one_step(const Steps& steps) {
  PerSquare table{};
  for (Square s = 0; s < 64; ++s) {
    for (const auto& step : steps) {
      const int file = file_of(s) + step[0], rank = rank_of(s) + step[1];
      if (on_board(file, rank)) table[s] |= bit(square_at(file, rank));
    }
  }
  return table;
}

/// The squares from s in one direction to the edge.
constexpr Bitboard ray(Square s, std::array<int, 2> step) {
  Bitboard squares = 0;
  for (int file = file_of(s) + step[0], rank = rank_of(s) + step[1]; on_board(file, rank);
       file += step[0], rank += step[1]) {
    squares |= bit(square_at(file, rank));
  }
  return squares;
}

constexpr PerSquare rays(int first, int last) {
  PerSquare table{};
  for (Square s = 0; s < 64; ++s) {
    for (int d = first; d < last; ++d) table[s] |= ray(s, kSteps[d]);
  }
  return table;
}

/// For every pair of squares on a line: what lies between them, or the whole line through them.
constexpr std::array<PerSquare, 64> pairs(bool whole) {
  std::array<PerSquare, 64> table{};
  for (Square a = 0; a < 64; ++a) {
    for (const auto& step : kSteps) {
      const std::array<int, 2> back{-step[0], -step[1]};
      const Bitboard forward = ray(a, step);
      for (Bitboard left = forward; left != 0;) {
        const Square b = pop(left);
        table[a][b] = whole ? forward | ray(a, back) | bit(a) : forward & ray(b, back);
      }
    }
  }
  return table;
}

/// The lines through a square, without the square itself: along which the quintessence counts.
struct Lines {
  Bitboard file, diagonal, antidiagonal;
};

constexpr std::array<Lines, 64> lines() {
  std::array<Lines, 64> table{};
  for (Square s = 0; s < 64; ++s) {
    table[s] = {ray(s, {0, 1}) | ray(s, {0, -1}), ray(s, {1, 1}) | ray(s, {-1, -1}), ray(s, {1, -1}) | ray(s, {-1, 1})};
  }
  return table;
}

/// [occupancy of files b to g][file]: what a rook on the first rank attacks there. Mirroring reverses ranks but not the
/// squares of one rank, so ranks need a table.
constexpr std::array<std::array<std::uint8_t, 8>, 64> first_rank() {
  std::array<std::array<std::uint8_t, 8>, 64> table{};
  for (unsigned inner = 0; inner < 64; ++inner) {
    for (int file = 0; file < 8; ++file) {
      unsigned attacks = 0;
      for (const int step : {1, -1}) {
        for (int f = file + step; f >= 0 && f < 8; f += step) {
          attacks |= 1u << f;
          if (((inner << 1) >> f & 1u) != 0) break;
        }
      }
      table[inner][file] = static_cast<std::uint8_t>(attacks);
    }
  }
  return table;
}

constexpr std::array<Lines, 64> kLines = lines();
constexpr std::array<std::array<std::uint8_t, 8>, 64> kFirstRank = first_rank();

Bitboard along(Bitboard line, Bitboard occupied, Square s) {
  const Bitboard blockers = occupied & line;
  const Bitboard up = blockers - bit(s);  // blockers without s, so 2s becomes s
  const Bitboard down = __builtin_bswap64(__builtin_bswap64(blockers) - __builtin_bswap64(bit(s)));
  return (up ^ down) & line;
}

}  // namespace

constinit const PerSquare kKnightAttacks = one_step(kKnightSteps);
constinit const PerSquare kKingAttacks = one_step(kSteps);
constinit const std::array<PerSquare, 2> kPawnAttacks{one_step(std::array<std::array<int, 2>, 2>{{{1, 1}, {-1, 1}}}),
                                                      one_step(std::array<std::array<int, 2>, 2>{{{1, -1}, {-1, -1}}})};
constinit const PerSquare kRookLines = rays(0, kDiagonals);
constinit const PerSquare kBishopLines = rays(kDiagonals, 8);
constinit const std::array<PerSquare, 64> kBetween = pairs(false);
constinit const std::array<PerSquare, 64> kLine = pairs(true);

Bitboard rook_attacks(Square s, Bitboard occupied) {
  const int shift = 8 * rank_of(s);
  const std::size_t inner = (occupied >> (shift + 1)) & 63u;
  const Bitboard rank = Bitboard{kFirstRank[inner][file_of(s)]} << shift;
  return along(kLines[s].file, occupied, s) | rank;
}

Bitboard bishop_attacks(Square s, Bitboard occupied) {
  const Lines& through = kLines[s];
  return along(through.diagonal, occupied, s) | along(through.antidiagonal, occupied, s);
}

}  // namespace sherd::chess
