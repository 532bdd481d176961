#pragma once
// The tag pairs before a game's moves: [Name "value"].
#include "chess/pgn.hpp"

namespace sherd::chess {

/// Reads the tag that opens here, in text that a NUL follows at `end`, and keeps its value where GameTags has a place
/// for it. Returns what follows; null where it is malformed.
const char* read_tag(const char* open, const char* end, GameTags& tags);

/// Games of standard chess from the standard position are left to the filter.
Verdict verdict_of_tags(const GameTags& tags, const TagFilter& filter);

}  // namespace sherd::chess
