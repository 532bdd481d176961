#include "chess/san.hpp"

#include "chess/moves.hpp"

namespace sherd::chess {
namespace {

constexpr const char* kUnreadable = "not a move in SAN";
constexpr const char* kIllegal = "an illegal move";
constexpr const char* kNull = "a null move";
constexpr std::string_view kLetters = "PNBRQK";

/// What SAN says of a move: the target, and which men are meant.
struct Description {
  Piece piece = Piece::pawn;
  Square to = kNoSquare;
  Bitboard from = ~Bitboard{0};  // the squares that the disambiguation leaves
  bool capture = false;          // marked as one, or a file is named
  Piece promotion = Piece::none;
};

constexpr std::array<Piece, 256> piece_letters() {
  std::array<Piece, 256> table{};
  table.fill(Piece::none);
  for (std::size_t i = 0; i < kLetters.size(); ++i) {
    table[static_cast<unsigned char>(kLetters[i])] = static_cast<Piece>(i);
  }
  return table;
}
constexpr std::array<Piece, 256> kPieceOf = piece_letters();

constexpr Piece piece_of(char c) {
  return kPieceOf[static_cast<unsigned char>(c)];
}
constexpr bool is_file(char c) {
  return c >= 'a' && c <= 'h';
}
constexpr bool is_rank(char c) {
  return c >= '1' && c <= '8';
}

std::string_view without_marks(std::string_view text) {
  while (!text.empty() && (text.back() == '+' || text.back() == '#' || text.back() == '!' || text.back() == '?')) {
    text.remove_suffix(1);
  }
  if (text.ends_with("e.p.")) text.remove_suffix(4);
  return text;
}

/// Takes a promotion off the end of the text; false where there is a sign of one that cannot be.
bool take_promotion(std::string_view& text, Piece& promotion) {
  const char last = text.back();
  if (is_rank(last)) return true;
  promotion = piece_of(last >= 'a' ? static_cast<char>(last - 'a' + 'A') : last);
  if (promotion == Piece::none || promotion == Piece::pawn || promotion == Piece::king) return false;
  text.remove_suffix(1);
  if (!text.empty() && text.back() == '=') text.remove_suffix(1);
  return true;
}

/// The text is not empty and has no marks.
bool describe(std::string_view text, Description& d) {
  if (!take_promotion(text, d.promotion)) return false;
  if (text.size() < 2 || !is_rank(text.back()) || !is_file(text[text.size() - 2])) return false;
  d.to = square_at(text[text.size() - 2] - 'a', text.back() - '1');
  text.remove_suffix(2);
  if (!text.empty() && piece_of(text.front()) != Piece::none) {
    d.piece = piece_of(text.front());
    text.remove_prefix(1);
  }
  if (!text.empty() && (text.back() == 'x' || text.back() == '-')) {
    d.capture = text.back() == 'x';
    text.remove_suffix(1);
  }
  if (!text.empty() && is_file(text.front())) {
    const int file = text.front() - 'a';
    d.from &= file_mask(file);
    d.capture = d.capture || file != file_of(d.to);
    text.remove_prefix(1);
  }
  if (!text.empty() && is_rank(text.front())) {
    d.from &= rank_mask(text.front() - '1');
    text.remove_prefix(1);
  }
  return text.empty();
}

/// The pawns that could reach the target by their own rules, the king left aside.
Bitboard pawn_candidates(const Position& p, const Description& d) {
  const Color us = p.turn;
  const Bitboard pawns = p.of(us, Piece::pawn), target = bit(d.to);
  if (d.capture) {
    const bool takes = (p.of(~us) & target) != 0 || d.to == p.en_passant;
    return takes ? kPawnAttacks[index(~us)][d.to] & pawns : 0;
  }
  const Bitboard occupied = p.occupied();
  if ((occupied & target) != 0) return 0;
  const Bitboard one = us == Color::white ? target >> 8 : target << 8;
  if ((one & occupied) != 0) return one & pawns;
  const bool far = rank_of(d.to) == (us == Color::white ? 3 : 4);
  return far ? (us == Color::white ? target >> 16 : target << 16) & pawns : 0;
}

/// Our sliders on a line with the target and nothing in between.
Bitboard slider_candidates(const Position& p, Square to, Bitboard men) {
  Bitboard found = 0;
  while (men != 0) {
    const Square from = pop(men);
    if ((kBetween[to][from] & p.occupied()) == 0) found |= bit(from);
  }
  return found;
}

Bitboard candidates(const Position& p, const Description& d) {
  if ((p.of(p.turn) & bit(d.to)) != 0) return 0;
  const Bitboard men = p.of(p.turn, d.piece) & d.from;
  switch (d.piece) {
    case Piece::pawn:
      return pawn_candidates(p, d) & d.from;
    case Piece::knight:
      return kKnightAttacks[d.to] & men;
    case Piece::king:
      return kKingAttacks[d.to] & men;
    case Piece::bishop:
      return slider_candidates(p, d.to, kBishopLines[d.to] & men);
    case Piece::rook:
      return slider_candidates(p, d.to, kRookLines[d.to] & men);
    default:
      return slider_candidates(p, d.to, (kRookLines[d.to] | kBishopLines[d.to]) & men);
  }
}

const char* find_move(const Position& p, const Description& d, Move& move) {
  const bool last_rank = rank_of(d.to) == 0 || rank_of(d.to) == 7;
  const bool promotes = d.piece == Piece::pawn && last_rank;
  if (promotes && d.promotion == Piece::none) return "a pawn on the last rank without a promotion";
  if (!promotes && d.promotion != Piece::none) return "a promotion that is none";
  bool found = false;
  for (Bitboard men = candidates(p, d); men != 0;) {
    const Move tried{static_cast<std::uint8_t>(pop(men)), static_cast<std::uint8_t>(d.to), d.piece, d.promotion};
    if (!king_stays_safe(p, tried)) continue;
    if (found) return "an ambiguous move: more than one piece can make it";
    move = tried;
    found = true;
  }
  return found ? nullptr : kIllegal;
}

const char* parse_castling(const Position& p, std::string_view text, Move& move) {
  const bool kingside = text == "O-O" || text == "0-0", queenside = text == "O-O-O" || text == "0-0-0";
  if (!kingside && !queenside) return kUnreadable;
  const Wing wing = kingside ? Wing::king : Wing::queen;
  if (!may_castle(p, wing)) return kIllegal;
  move = castling_move(p.turn, wing);
  return nullptr;
}

/// The least of nothing, file, rank or both that tells the move from those of other pieces of its kind.
std::string disambiguation(const MoveList& moves, Move m) {
  bool others = false, same_file = false, same_rank = false;
  for (const Move other : moves) {
    if (other.piece != m.piece || other.to != m.to || other.from == m.from) continue;
    others = true;
    same_file = same_file || file_of(other.from) == file_of(m.from);
    same_rank = same_rank || rank_of(other.from) == rank_of(m.from);
  }
  std::string text;
  if (others && (!same_file || same_rank)) text += static_cast<char>('a' + file_of(m.from));
  if (same_file) text += static_cast<char>('1' + rank_of(m.from));
  return text;
}

std::string without_check(const Position& p, Move m) {
  const int step = m.to - m.from;
  if (m.piece == Piece::king && (step == 2 || step == -2)) return step > 0 ? "O-O" : "O-O-O";
  const bool captures = (p.occupied() & bit(m.to)) != 0 || (m.piece == Piece::pawn && m.to == p.en_passant);
  std::string text;
  if (m.piece != Piece::pawn) {
    text += kLetters[index(m.piece)];
    text += disambiguation(legal_moves(p), m);
  } else if (captures) {
    text += static_cast<char>('a' + file_of(m.from));
  }
  if (captures) text += 'x';
  text += static_cast<char>('a' + file_of(m.to));
  text += static_cast<char>('1' + rank_of(m.to));
  if (m.promotion != Piece::none) {
    text += '=';
    text += kLetters[index(m.promotion)];
  }
  return text;
}

}  // namespace

const char* parse_san(const Position& p, std::string_view text, Move& move) {
  if (text == "--" || text == "Z0" || text == "null") return kNull;
  text = without_marks(text);
  if (text.empty()) return kUnreadable;
  if (text.front() == 'O' || text.front() == '0') return parse_castling(p, text, move);
  Description d;
  return describe(text, d) ? find_move(p, d, move) : kUnreadable;
}

std::string san(const Position& p, Move m) {
  std::string text = without_check(p, m);
  Position next = p;
  apply(next, m);
  if (in_check(next)) text += legal_moves(next).empty() ? '#' : '+';
  return text;
}

const char* parse_uci(const Position& p, std::string_view text, Move& move) {
  if (text == "0000") return kNull;
  const bool shaped = (text.size() == 4 || text.size() == 5) && is_file(text[0]) && is_rank(text[1]) &&
                      is_file(text[2]) && is_rank(text[3]);
  if (!shaped) return "not a move in UCI form";
  std::array<char, 5> written{};
  for (const Move m : legal_moves(p)) {
    const char* end = write_uci(m, written.data());
    if (text != std::string_view(written.data(), end)) continue;
    move = m;
    return nullptr;
  }
  return kIllegal;
}

std::string uci(Move m) {
  std::array<char, 5> written{};
  return {written.data(), write_uci(m, written.data())};
}

char* write_uci(Move m, char* out) {
  *out++ = static_cast<char>('a' + file_of(m.from));
  *out++ = static_cast<char>('1' + rank_of(m.from));
  *out++ = static_cast<char>('a' + file_of(m.to));
  *out++ = static_cast<char>('1' + rank_of(m.to));
  if (m.promotion != Piece::none) *out++ = "pnbrqk"[index(m.promotion)];
  return out;
}

}  // namespace sherd::chess
