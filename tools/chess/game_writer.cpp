#include "chess/game_writer.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

constexpr std::size_t kBuffer = std::size_t{256} << 10;

void write_to_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw does_not_fit("standard output: cannot write: {}", std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace

GameWriter::GameWriter(const std::string& path) {
  if (!path.empty() && path != "-") file_.emplace(path);
  buffer_.reserve(2 * kBuffer);
}

void GameWriter::write(std::string_view moves, std::string_view result) {
  buffer_.append("{\"text\":\"").append(moves).append(result).append("\"}\n");
  if (buffer_.size() >= kBuffer) flush();
}

void GameWriter::flush() {
  if (file_) {
    file_->file().pwrite_all(buffer_, written_);
  } else {
    write_to_stdout(buffer_);
  }
  written_ += static_cast<std::int64_t>(buffer_.size());
  buffer_.clear();
}

void GameWriter::finish() {
  flush();
  if (file_) file_->commit();
}

}  // namespace sherd::chess
