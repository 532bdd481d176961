#include "chess/moves.hpp"

namespace sherd::chess {
namespace {

constexpr std::array<Piece, 4> kPromotions{Piece::queen, Piece::rook, Piece::bishop, Piece::knight};

constexpr int forward(Color c) {
  return c == Color::white ? 8 : -8;
}
constexpr Bitboard last_rank(Color c) {
  return rank_mask(c == Color::white ? 7 : 0);
}

/// By square: the castling rights that survive a move from it or to it.
constexpr std::array<std::uint8_t, 64> kept_rights() {
  std::array<std::uint8_t, 64> kept{};
  kept.fill(15);
  for (const Color c : {Color::white, Color::black}) {
    const int rank = c == Color::white ? 0 : 7;
    kept[square_at(4, rank)] &= ~(castling_right(c, Wing::king) | castling_right(c, Wing::queen));
    kept[square_at(7, rank)] &= ~castling_right(c, Wing::king);
    kept[square_at(0, rank)] &= ~castling_right(c, Wing::queen);
  }
  return kept;
}
constexpr std::array<std::uint8_t, 64> kKeptRights = kept_rights();

Move move_of(Piece piece, Square from, Square to, Piece promotion = Piece::none) {
  return {static_cast<std::uint8_t>(from), static_cast<std::uint8_t>(to), piece, promotion};
}

/// What every generator below needs to know about the position.
struct Situation {
  const Position& p;
  Square king;
  Bitboard targets;  // where a piece other than the king may go: what ends a check, and not our own men
  Bitboard pinned;

  /// A pinned piece stays on the line through the king.
  Bitboard allowed(Square from) const { return (pinned & bit(from)) != 0 ? targets & kLine[king][from] : targets; }
};

Bitboard pinned_men(const Position& p, Square king) {
  const Color us = p.turn;
  const Bitboard queens = p.of(Piece::queen), occupied = p.occupied();
  Bitboard snipers =
      (kRookLines[king] & (p.of(Piece::rook) | queens)) | (kBishopLines[king] & (p.of(Piece::bishop) | queens));
  snipers &= p.of(~us);
  Bitboard pinned = 0;
  while (snipers != 0) {
    const Bitboard between = kBetween[king][pop(snipers)] & occupied;
    if (between != 0 && !more_than_one(between)) pinned |= between & p.of(us);
  }
  return pinned;
}

void add_all(MoveList& list, Piece piece, Square from, Bitboard targets) {
  while (targets != 0) list.add(move_of(piece, from, pop(targets)));
}

void king_moves(const Position& p, Square king, MoveList& list) {
  const Color us = p.turn;
  Bitboard targets = kKingAttacks[king] & ~p.of(us);
  const Bitboard without_king = p.occupied() ^ bit(king);  // it gives no shelter to the squares behind it
  while (targets != 0) {
    const Square to = pop(targets);
    if (attackers(p, to, ~us, without_king) == 0) list.add(move_of(Piece::king, king, to));
  }
}

Bitboard piece_attacks(Piece piece, Square from, Bitboard occupied) {
  switch (piece) {
    case Piece::knight:
      return kKnightAttacks[from];
    case Piece::bishop:
      return bishop_attacks(from, occupied);
    case Piece::rook:
      return rook_attacks(from, occupied);
    default:
      return bishop_attacks(from, occupied) | rook_attacks(from, occupied);
  }
}

void piece_moves(const Situation& s, Piece piece, MoveList& list) {
  Bitboard men = s.p.of(s.p.turn, piece);
  while (men != 0) {
    const Square from = pop(men);
    add_all(list, piece, from, piece_attacks(piece, from, s.p.occupied()) & s.allowed(from));
  }
}

void add_pawn_moves(const Position& p, Square from, Bitboard targets, MoveList& list) {
  const Bitboard promoting = targets & last_rank(p.turn);
  add_all(list, Piece::pawn, from, targets ^ promoting);
  for (Bitboard left = promoting; left != 0;) {
    const Square to = pop(left);
    for (const Piece promotion : kPromotions) list.add(move_of(Piece::pawn, from, to, promotion));
  }
}

void pawn_moves(const Situation& s, MoveList& list) {
  const Position& p = s.p;
  const Color us = p.turn;
  const Bitboard occupied = p.occupied(), home = rank_mask(us == Color::white ? 1 : 6);
  for (Bitboard men = p.of(us, Piece::pawn); men != 0;) {
    const Square from = pop(men), next = from + forward(us);
    Bitboard targets = kPawnAttacks[index(us)][from] & p.of(~us);
    if ((occupied & bit(next)) == 0) {
      targets |= bit(next);
      if ((home & bit(from)) != 0) targets |= bit(next + forward(us)) & ~occupied;
    }
    add_pawn_moves(p, from, targets & s.allowed(from), list);
  }
  if (p.en_passant == kNoSquare) return;
  // Two pawns leave a rank at once, which no pin mask describes, so these moves are tried one by one.
  for (Bitboard men = kPawnAttacks[index(~us)][p.en_passant] & p.of(us, Piece::pawn); men != 0;) {
    const Move m = move_of(Piece::pawn, pop(men), p.en_passant);
    if (king_stays_safe(p, m)) list.add(m);
  }
}

void move_castled_rook(Position& p, Square king_to) {
  const bool kingside = file_of(king_to) == 6;
  const Bitboard both = kingside ? bit(king_to + 1) | bit(king_to - 1) : bit(king_to - 2) | bit(king_to + 1);
  p.by_piece[index(Piece::rook)] ^= both;
  p.by_color[index(p.turn)] ^= both;
}

}  // namespace

MoveList legal_moves(const Position& p) {
  MoveList list;
  const Square king = p.king(p.turn);
  const Bitboard checkers = attackers(p, king, ~p.turn, p.occupied());
  king_moves(p, king, list);
  if (more_than_one(checkers)) return list;
  Situation s{p, king, ~p.of(p.turn), pinned_men(p, king)};
  if (checkers != 0) s.targets &= checkers | kBetween[king][lowest(checkers)];
  for (const Piece piece : {Piece::knight, Piece::bishop, Piece::rook, Piece::queen}) piece_moves(s, piece, list);
  pawn_moves(s, list);
  if (checkers != 0) return list;
  for (const Wing wing : {Wing::king, Wing::queen}) {
    if (may_castle(p, wing)) list.add(castling_move(p.turn, wing));
  }
  return list;
}

bool king_stays_safe(const Position& p, Move m) {
  const Color us = p.turn;
  Bitboard captured = bit(m.to);
  Bitboard occupied = (p.occupied() & ~bit(m.from)) | bit(m.to);
  if (m.piece == Piece::pawn && m.to == p.en_passant) {
    captured = bit(m.to - forward(us));
    occupied &= ~captured;
  }
  const Square king = m.piece == Piece::king ? m.to : p.king(us);
  return (attackers(p, king, ~us, occupied) & ~captured) == 0;
}

bool en_passant_is_legal(const Position& p, Square target) {
  Bitboard men = kPawnAttacks[index(~p.turn)][target] & p.of(p.turn, Piece::pawn);
  if (men == 0) return false;
  Position tried = p;
  tried.en_passant = static_cast<std::int8_t>(target);
  while (men != 0) {
    if (king_stays_safe(tried, move_of(Piece::pawn, pop(men), target))) return true;
  }
  return false;
}

bool may_castle(const Position& p, Wing wing) {
  const Color us = p.turn;
  if ((p.castling & castling_right(us, wing)) == 0) return false;
  const Square king = us == Color::white ? 4 : 60;
  const Square rook = wing == Wing::king ? king + 3 : king - 4;
  const Bitboard occupied = p.occupied();
  if ((kBetween[king][rook] & occupied) != 0) return false;
  const int step = wing == Wing::king ? 1 : -1;
  for (Square s = king; s != king + 3 * step; s += step) {
    if (attackers(p, s, ~us, occupied) != 0) return false;
  }
  return true;
}

Move castling_move(Color c, Wing wing) {
  const Square king = c == Color::white ? 4 : 60;
  return move_of(Piece::king, king, wing == Wing::king ? king + 2 : king - 2);
}

void apply(Position& p, Move m) {
  const Color us = p.turn;
  const Bitboard from = bit(m.from), to = bit(m.to), here = from | to;
  const bool capture = (p.of(~us) & to) != 0;
  for (Bitboard& men : p.by_piece) men &= ~here;
  p.by_piece[index(m.promotion == Piece::none ? m.piece : m.promotion)] |= to;
  p.by_color[index(us)] ^= here;
  p.by_color[index(~us)] &= ~to;
  p.quiet_plies = static_cast<std::uint16_t>(capture || m.piece == Piece::pawn ? 0 : p.quiet_plies + 1);
  p.move_number = static_cast<std::uint16_t>(p.move_number + index(us));
  p.castling &= kKeptRights[m.from] & kKeptRights[m.to];
  const int step = m.to - m.from;
  if (m.piece == Piece::king && (step == 2 || step == -2)) move_castled_rook(p, m.to);
  const Square en_passant = p.en_passant;
  p.en_passant = kNoSquare;
  p.turn = ~us;
  if (m.piece != Piece::pawn) return;
  if (m.to == en_passant) {
    const Bitboard captured = bit(m.to - forward(us));
    p.by_piece[index(Piece::pawn)] ^= captured;
    p.by_color[index(~us)] ^= captured;
  } else if (step == 16 || step == -16) {
    const Square passed = m.from + step / 2;
    if (en_passant_is_legal(p, passed)) p.en_passant = static_cast<std::int8_t>(passed);
  }
}

std::uint64_t perft(const Position& p, int depth) {
  if (depth == 0) return 1;
  const MoveList moves = legal_moves(p);
  if (depth == 1) return moves.size();
  std::uint64_t leaves = 0;
  for (const Move m : moves) {
    Position next = p;
    apply(next, m);
    leaves += perft(next, depth - 1);
  }
  return leaves;
}

}  // namespace sherd::chess
