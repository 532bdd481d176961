#pragma once
// Portable Game Notation (S. Edwards, "Portable Game Notation Specification and Implementation Guide", 1994) as a
// stream of games. Memory is bounded; a broken game is told with its line, and reading goes on with the next.
#include <string_view>
#include <vector>

#include "chess/byte_source.hpp"
#include "chess/game_reader.hpp"

namespace sherd::chess {

class PgnReader : public GameReader {
 public:
  explicit PgnReader(std::unique_ptr<ByteSource> source, TagFilter filter = keep_all);
  bool next(GameRecord& game) override;
  std::int64_t bytes() const override { return bytes_; }

 private:
  std::string_view text() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void refill();
  void consume(std::size_t count);
  void skip_long_game();

  std::unique_ptr<ByteSource> source_;
  TagFilter filter_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // what is read and not consumed
  bool last_ = false;                // the source has no more
  std::int64_t line_ = 1, number_ = 0, bytes_ = 0;
};

}  // namespace sherd::chess
