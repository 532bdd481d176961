#include "chess/game_filter.hpp"

#include <algorithm>
#include <charconv>

#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

bool rating_within(std::string_view tag, const GameFilter& filter) {
  int rating = 0;
  const auto [end, error] = std::from_chars(tag.data(), tag.data() + tag.size(), rating);
  if (error != std::errc() || end != tag.data() + tag.size()) return false;  // "?" and "-" stand for no rating
  return rating >= filter.min_rating.value_or(rating) && rating <= filter.max_rating.value_or(rating);
}

bool is_among(std::string_view value, const std::vector<std::string>& wanted) {
  return std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

}  // namespace

void GameFilter::validate() const {
  if (min_rating && max_rating && *min_rating > *max_rating) {
    throw usage_error("--min-rating {} is more than --max-rating {}; no game has both", *min_rating, *max_rating);
  }
  if (min_plies > max_plies) {
    throw usage_error("--min-plies {} is more than --max-plies {}; no game has both", min_plies, max_plies);
  }
  for (const std::string& result : results) {
    if (!is_among(result, {"1-0", "0-1", "1/2-1/2", "*"})) {
      throw usage_error("--result is '{}'; it can be 1-0, 0-1, 1/2-1/2 or *", result);
    }
  }
}

Verdict GameFilter::by_tags(const GameTags& tags) const {
  if (by_rating() && !(rating_within(tags.white_elo, *this) && rating_within(tags.black_elo, *this)))
    return Verdict::rating;
  if (!terminations.empty() && !is_among(tags.termination, terminations)) return Verdict::termination;
  return Verdict::kept;
}

Verdict GameFilter::by_game(const GameRecord& game) const {
  if (game.verdict != Verdict::kept) return game.verdict;
  if (!is_among(game.result, results)) return Verdict::result;
  return game.plies < min_plies || game.plies > max_plies ? Verdict::length : Verdict::kept;
}

}  // namespace sherd::chess
