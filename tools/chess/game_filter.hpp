#pragma once
// Which games are wanted.
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "chess/pgn.hpp"

namespace sherd::chess {

struct GameFilter {
  std::optional<int> min_rating, max_rating;  // of both players; a player without a rating is refused where one is set
  std::vector<std::string> results{"1-0", "0-1", "1/2-1/2"};
  std::vector<std::string> terminations;  // values of the tag Termination; empty: any
  std::int64_t min_plies = 1;
  std::int64_t max_plies = std::numeric_limits<std::int64_t>::max();

  /// Usage error where no game can pass.
  void validate() const;
  bool by_rating() const { return min_rating || max_rating; }
  /// What the tags alone decide.
  Verdict by_tags(const GameTags& tags) const;
  /// The verdict on a game that has been read.
  Verdict by_game(const GameRecord& game) const;
};

}  // namespace sherd::chess
