// Forsyth-Edwards notation (the PGN standard's section 16.1), read as hostile input.
#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "chess/moves.hpp"
#include "chess/printable.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

constexpr std::string_view kLetters = "pnbrqk";
constexpr std::string_view kRights = "KQkq";  // in the order of Position::castling
constexpr std::size_t kLongest = 128;         // the longest that is well-formed has fewer characters
constexpr int kLargestCounter = 9999;

Error refused(std::string_view fen, std::string_view why) {
  return bad_input("FEN \"{}\": {}", printable(fen, kLongest), why);
}

std::vector<std::string_view> fields_of(std::string_view fen) {
  std::vector<std::string_view> fields;
  for (std::size_t at = 0; at <= fen.size();) {
    const std::size_t end = std::min(fen.find(' ', at), fen.size());
    fields.push_back(fen.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

/// Null, or what is wrong with a rank.
const char* place_rank(Position& p, std::string_view text, int rank) {
  int file = 0;
  bool after_digit = false;
  for (const char c : text) {
    const bool digit = c >= '1' && c <= '8';
    if (digit && after_digit) return "two digits in a row; empty squares that touch are one digit";
    after_digit = digit;
    if (digit) {
      file += c - '0';
      continue;
    }
    const bool white = c >= 'A' && c <= 'Z';
    const std::size_t piece = kLetters.find(white ? static_cast<char>(c - 'A' + 'a') : c);
    if (piece == std::string_view::npos) return "a rank holds PNBRQK, pnbrqk and digits 1 to 8 only";
    if (file > 7) return "a rank of more than 8 squares";
    p.by_piece[piece] |= bit(square_at(file, rank));
    p.by_color[white ? 0 : 1] |= bit(square_at(file, rank));
    ++file;
  }
  return file == 8 ? nullptr : "a rank that has not 8 squares";
}

const char* place_men(Position& p, std::string_view text) {
  int rank = 7;
  for (std::size_t at = 0; at <= text.size(); --rank) {
    if (rank < 0) return "more than 8 ranks";
    const std::size_t end = std::min(text.find('/', at), text.size());
    if (const char* wrong = place_rank(p, text.substr(at, end - at), rank)) return wrong;
    at = end + 1;
  }
  return rank == -1 ? nullptr : "fewer than 8 ranks";
}

/// More men than promotion can make would also overflow what a MoveList holds.
const char* check_men(const Position& p) {
  if ((p.of(Piece::pawn) & (rank_mask(0) | rank_mask(7))) != 0) return "a pawn on the first or the last rank";
  for (const Color c : {Color::white, Color::black}) {
    const auto count = [&](Piece piece) { return std::popcount(p.of(c, piece)); };
    if (count(Piece::king) != 1) return "each side has exactly one king";
    const int promoted = std::max(0, count(Piece::knight) - 2) + std::max(0, count(Piece::bishop) - 2) +
                         std::max(0, count(Piece::rook) - 2) + std::max(0, count(Piece::queen) - 1);
    if (promoted + count(Piece::pawn) > 8) return "more men than 8 pawns and their promotions allow";
  }
  if (attackers(p, p.king(~p.turn), p.turn, p.occupied()) != 0) return "the side that is not to move is in check";
  return nullptr;
}

const char* set_castling(Position& p, std::string_view text) {
  if (text == "-") return nullptr;
  if (text.empty()) return "castling is - or some of KQkq";
  std::size_t next = 0;
  for (const char c : text) {
    const std::size_t right = kRights.find(c, next);
    if (right == std::string_view::npos) return "castling is - or some of KQkq, in this order";
    next = right + 1;
    const Color color = right < 2 ? Color::white : Color::black;
    const Square king = color == Color::white ? 4 : 60, rook = right % 2 == 0 ? king + 3 : king - 4;
    const bool home = p.king(color) == king && (p.of(color, Piece::rook) & bit(rook)) != 0;
    if (!home) return "a castling right, but king or rook is not on its first square";
    p.castling |= static_cast<std::uint8_t>(1u << right);
  }
  return nullptr;
}

const char* set_en_passant(Position& p, std::string_view text) {
  if (text == "-") return nullptr;
  if (text.size() != 2 || text[0] < 'a' || text[0] > 'h') return "en passant is - or a square";
  const bool white = p.turn == Color::white;
  if (text[1] != (white ? '6' : '3'))
    return "the en passant square is on the 6th rank with white to move, else on the 3rd";
  const Square target = square_at(text[0] - 'a', white ? 5 : 2);
  const int back = white ? 8 : -8;  // towards the square that the pawn came from
  const Bitboard pawn = bit(target - back), empty = bit(target) | bit(target + back);
  if ((p.of(~p.turn, Piece::pawn) & pawn) == 0 || (p.occupied() & empty) != 0) {
    return "en passant, but no pawn can have just passed that square";
  }
  if (en_passant_is_legal(p, target)) p.en_passant = static_cast<std::int8_t>(target);
  return nullptr;
}

const char* set_counter(std::uint16_t& counter, std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size() && text[0] != '-';
  if (!number || value > kLargestCounter) return "a counter is a number of at most 4 digits";
  counter = static_cast<std::uint16_t>(value);
  return nullptr;
}

const char* set_turn(Position& p, std::string_view text) {
  if (text != "w" && text != "b") return "the side to move is w or b";
  p.turn = text == "w" ? Color::white : Color::black;
  return nullptr;
}

const char* parse(Position& p, const std::vector<std::string_view>& fields) {
  if (fields.size() != 4 && fields.size() != 6) return "4 or 6 fields are expected, one space between them";
  const char* wrong = place_men(p, fields[0]);
  if (wrong == nullptr) wrong = set_turn(p, fields[1]);
  if (wrong == nullptr) wrong = check_men(p);
  if (wrong == nullptr) wrong = set_castling(p, fields[2]);
  if (wrong == nullptr) wrong = set_en_passant(p, fields[3]);
  if (wrong == nullptr && fields.size() == 6) wrong = set_counter(p.quiet_plies, fields[4]);
  if (wrong == nullptr && fields.size() == 6) wrong = set_counter(p.move_number, fields[5]);
  return wrong;
}

std::string men_of(const Position& p) {
  std::string text;
  for (int rank = 7; rank >= 0; --rank) {
    int empty = 0;
    for (int file = 0; file < 8; ++file) {
      const Square s = square_at(file, rank);
      const Piece piece = p.piece_on(s);
      if (piece == Piece::none) {
        ++empty;
        continue;
      }
      if (empty > 0) text += std::to_string(std::exchange(empty, 0));
      const char letter = kLetters[index(piece)];
      text += (p.of(Color::white) & bit(s)) != 0 ? static_cast<char>(letter - 'a' + 'A') : letter;
    }
    if (empty > 0) text += std::to_string(empty);
    if (rank > 0) text += '/';
  }
  return text;
}

std::string square_name(Square s) {
  return s == kNoSquare ? "-" : fmt::format("{:c}{}", 'a' + file_of(s), 1 + rank_of(s));
}

}  // namespace

Position parse_fen(std::string_view fen) {
  if (fen.size() > kLongest) throw refused(fen, "longer than any position's");
  Position p;
  if (const char* wrong = parse(p, fields_of(fen))) throw refused(fen, wrong);
  return p;
}

Position start_position() {
  static const Position start = parse_fen("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1");
  return start;
}

std::string fen(const Position& p) {
  std::string castling;
  for (std::size_t i = 0; i < kRights.size(); ++i) {
    if ((p.castling >> i & 1) != 0) castling += kRights[i];
  }
  return fmt::format("{} {} {} {} {} {}", men_of(p), p.turn == Color::white ? 'w' : 'b',
                     castling.empty() ? "-" : castling, square_name(p.en_passant), p.quiet_plies, p.move_number);
}

}  // namespace sherd::chess
