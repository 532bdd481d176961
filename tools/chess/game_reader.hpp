#pragma once
// Games as they are published, one after the other.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sherd::chess {

enum class Verdict : std::uint8_t {
  kept,
  broken,    // a token that is none, an illegal move, no result, two results
  too_long,  // more than kLongestGame
  variant,   // not standard chess
  set_up,    // does not begin in the standard position
  no_moves,
  rating,  // the rest: refused by a filter
  result,
  termination,
  length,
};
constexpr std::size_t kVerdicts = 10;

constexpr std::size_t kLongestGame = std::size_t{1} << 20;  // bytes

/// What a source says about a game; empty where it says nothing.
struct GameTags {
  std::string_view result, termination, variant, set_up, fen, white_elo, black_elo;
};

struct GameRecord {
  std::int64_t number = 0, line = 0;  // from 1
  GameTags tags;                      // views that the next game ends
  Verdict verdict = Verdict::kept;
  std::string moves;  // in UCI form, a space after each
  std::int64_t plies = 0;
  std::string_view result;  // "1-0", "0-1", "1/2-1/2" or "*"
  std::string fault;        // of a broken game: what and on which line
};

/// What the tags alone decide. Moves of a game that is not kept are not looked at.
using TagFilter = std::function<Verdict(const GameTags&)>;
inline Verdict keep_all(const GameTags& /*tags*/) {
  return Verdict::kept;
}

class GameReader {
 public:
  virtual ~GameReader() = default;
  /// False at the end.
  virtual bool next(GameRecord& game) = 0;
  virtual std::int64_t bytes() const = 0;  // read from the source
  virtual bool has_ratings() const { return true; }
};

/// PGN, zstd-compressed or not, or Parquet, told by the first bytes; "-" is standard input, and PGN.
std::unique_ptr<GameReader> open_games(const std::string& path, TagFilter filter);

/// A file of Parquet with columns Moves (lists of moves in UCI form), Result and perhaps Termination, as of
/// laion/strategic_game_chess. Row by row. Bad input where this build has no Parquet reader.
std::unique_ptr<GameReader> parquet_games(const std::string& path, TagFilter filter);

}  // namespace sherd::chess
