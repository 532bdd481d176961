#pragma once
// Moves as text: SAN (the PGN standard's section 8.2.3) and UCI ("e2e4", "e7e8q", castling as e1g1). Readers return
// null on success, else what is wrong with the move.
#include <string>
#include <string_view>

#include "chess/position.hpp"

namespace sherd::chess {

/// Also taken: castling with zeros, promotion without '=', more disambiguation than needed, an 'x' too many or too few
/// with a piece, and after the move check marks, annotations (!?) and "e.p.". None of these marks is checked.
const char* parse_san(const Position& p, std::string_view text, Move& move);
/// A legal move in the standard's form, with + or #.
std::string san(const Position& p, Move m);

const char* parse_uci(const Position& p, std::string_view text, Move& move);
std::string uci(Move m);
/// Writes 4 or 5 characters and returns their end.
char* write_uci(Move m, char* out);

}  // namespace sherd::chess
