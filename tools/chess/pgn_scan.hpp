#pragma once
// One game of PGN text that lies in memory as a whole.
#include "chess/pgn.hpp"

namespace sherd::chess {

/// How every game of a file with tags begins, with the line break before it: where to go on after text whose structure
/// is lost.
constexpr std::string_view kNextGame = "\n[Event ";

/// Scans the game at the start of the text, which a NUL follows; `game.line` says where it begins. Returns how many
/// bytes it takes; 0 where the text ends before the game does and is not the last.
std::size_t scan_game(std::string_view text, bool last, const TagFilter& filter, GameRecord& game);

}  // namespace sherd::chess
