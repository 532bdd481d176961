#pragma once
// Portable Game Notation (S. Edwards, "Portable Game Notation Specification and Implementation Guide", 1994) as a
// stream of games. Memory is bounded; a broken game is told with its line, and reading goes on with the next.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "chess/byte_source.hpp"

namespace sherd::chess {

enum class Verdict : std::uint8_t {
  kept,
  broken,    // a token that is none, an illegal move, no result, two results
  too_long,  // more text than kLongestGame
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

/// Values of tags, as written between the quotes; empty where a tag is missing.
struct PgnTags {
  std::string_view result, termination, variant, set_up, fen, white_elo, black_elo;
};

struct PgnGame {
  std::int64_t number = 0, line = 0;  // from 1
  PgnTags tags;                       // views that the next game ends
  Verdict verdict = Verdict::kept;
  std::string moves;  // in UCI form, a space after each
  std::int64_t plies = 0;
  std::string_view result;  // "1-0", "0-1", "1/2-1/2" or "*"
  std::string fault;        // of a broken game: what and on which line
};

/// What the tags alone decide. Moves of a game that is not kept are not looked at.
using TagFilter = std::function<Verdict(const PgnTags&)>;

class PgnReader {
 public:
  explicit PgnReader(
      ByteSource& source, TagFilter filter = [](const PgnTags&) { return Verdict::kept; });
  /// False at the end.
  bool next(PgnGame& game);
  std::int64_t bytes() const { return bytes_; }  // read from the source

 private:
  std::string_view text() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void refill();
  void consume(std::size_t count);
  void skip_long_game();

  ByteSource& source_;
  TagFilter filter_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // what is read and not consumed
  bool last_ = false;                // the source has no more
  std::int64_t line_ = 1, number_ = 0, bytes_ = 0;
};

}  // namespace sherd::chess
