#include "chess/pgn.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "chess/pgn_scan.hpp"

namespace sherd::chess {
namespace {

constexpr std::size_t kBlock = std::size_t{256} << 10;  // read at a time; it stays in a core's cache
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpaces = " \n\r\t\v\f";

/// End of the comment that begins at `open`; null where it has none, or takes in another game.
const char* comment_end(const char* open, const char* end) {
  const char* close = static_cast<const char*>(std::memchr(open, '}', static_cast<std::size_t>(end - open)));
  if (close == nullptr || std::string_view(open, close).find(kNextGame) != std::string_view::npos) return nullptr;
  return close + 1;
}

/// Length of what stands before a game and may be dropped: white space, a byte-order mark, complete comments, lines
/// that begin with %.
std::size_t blank_prefix(std::string_view text, bool last) {
  const char* at = text.data();
  const char* const end = at + text.size();
  for (bool line_start = true; at != end;) {
    const char* after = at;
    if (kSpaces.find(*at) != std::string_view::npos) {
      after = at + 1;
    } else if (*at == '{') {
      after = comment_end(at, end);
    } else if (*at == ';' || (*at == '%' && line_start)) {
      const void* line_end = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
      after = line_end == nullptr ? (last ? end : nullptr) : static_cast<const char*>(line_end) + 1;
    } else if (std::string_view(at, end).starts_with(kByteOrderMark)) {
      after = at + kByteOrderMark.size();
    }
    if (after == nullptr || after == at) break;
    line_start = after[-1] == '\n';
    at = after;
  }
  return static_cast<std::size_t>(at - text.data());
}

}  // namespace

PgnReader::PgnReader(std::unique_ptr<ByteSource> source, TagFilter filter)
    : source_(std::move(source)), filter_(std::move(filter)), buffer_(kLongestGame + kBlock + 1) {}

/// Adds a block behind what is left. Bytes that begin a game are never split from the rest of it: a game that the
/// buffer ends in is scanned again from its start.
void PgnReader::refill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  const std::size_t wanted = std::min(end_ + kBlock, buffer_.size() - 1);
  while (end_ < wanted && !last_) {
    const std::size_t n = source_->read(std::span(buffer_).subspan(end_, wanted - end_));
    last_ = n == 0;
    end_ += n;
    bytes_ += static_cast<std::int64_t>(n);
  }
  buffer_[end_] = '\0';
}

void PgnReader::consume(std::size_t count) {
  line_ += std::count(text().begin(), text().begin() + static_cast<std::ptrdiff_t>(count), '\n');
  begin_ += count;
}

void PgnReader::skip_long_game() {
  consume(1);
  for (;;) {
    const std::size_t found = text().find(kNextGame);
    if (found != std::string_view::npos) return consume(found + 1);
    if (last_) return consume(text().size());
    consume(text().size() - std::min(text().size(), kNextGame.size()));
    refill();
  }
}

bool PgnReader::next(GameRecord& game) {
  for (;;) {
    consume(blank_prefix(text(), last_));
    if (text().empty() && last_) return false;
    game.line = line_;
    const std::size_t taken = text().empty() ? 0 : scan_game(text(), last_, filter_, game);
    const bool too_long = taken > kLongestGame || (taken == 0 && text().size() >= kLongestGame);
    if (taken == 0 && !too_long) {
      refill();
      continue;
    }
    game.number = ++number_;
    if (too_long) game.verdict = Verdict::too_long;
    if (taken > 0) {
      consume(taken);
    } else {
      skip_long_game();
    }
    return true;
  }
}

}  // namespace sherd::chess
