#pragma once
// Games as lines of JSON, the text form of the demo's corpus: {"text":"e2e4 c7c5 ... 1/2-1/2"}.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sherd/file/posix.hpp"

namespace sherd::chess {

class GameWriter {
 public:
  /// To a file that appears whole with finish() or not at all; to standard output where the path is empty or "-".
  explicit GameWriter(const std::string& path);
  /// `moves` in UCI form with a space after each.
  void write(std::string_view moves, std::string_view result);
  void finish();

 private:
  void flush();

  std::optional<AtomicFile> file_;
  std::string buffer_;
  std::int64_t written_ = 0;
};

}  // namespace sherd::chess
