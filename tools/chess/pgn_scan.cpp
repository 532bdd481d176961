#include "chess/pgn_scan.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "chess/moves.hpp"
#include "chess/pgn_tags.hpp"
#include "chess/printable.hpp"
#include "chess/san.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

constexpr std::size_t kShownToken = 20;
// A comment that was never closed takes in at least the next game's seven tags; no need to search shorter ones.
constexpr std::size_t kSwallowsGame = 64;

enum class Kind : std::uint8_t {
  other,
  space,
  letter,
  digit,
  mark,
  comment,
  line_comment,
  escape,
  open,
  nag,
  star,
  tag
};

constexpr std::array<Kind, 256> kinds() {
  std::array<Kind, 256> table{};
  for (unsigned c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = Kind::letter;
  for (unsigned c = '0'; c <= '9'; ++c) table[c] = Kind::digit;
  for (const unsigned char c : {' ', '\t', '\n', '\r', '\v', '\f'}) table[c] = Kind::space;
  for (const unsigned char c : {'.', '!', '?'}) table[c] = Kind::mark;
  table['-'] = Kind::letter;  // begins the null move
  table['{'] = Kind::comment;
  table[';'] = Kind::line_comment;
  table['%'] = Kind::escape;
  table['('] = Kind::open;
  table['$'] = Kind::nag;
  table['*'] = Kind::star;
  table['['] = Kind::tag;
  return table;
}
constexpr std::array<Kind, 256> kKinds = kinds();

constexpr std::array<bool, 256> token_ends() {
  std::array<bool, 256> table{};
  for (const unsigned char c : std::string_view(" \t\n\r\v\f{}()[];$<>*\"\0", 19)) table[c] = true;
  return table;
}
constexpr std::array<bool, 256> kEndsToken = token_ends();

constexpr Kind kind_of(char c) {
  return kKinds[static_cast<unsigned char>(c)];
}
constexpr bool is_space(char c) {
  return kind_of(c) == Kind::space;
}
constexpr bool is_digit(char c) {
  return kind_of(c) == Kind::digit;
}

/// The result as one of four constants; empty for other text.
std::string_view result_named(std::string_view text) {
  for (const std::string_view result : {"1-0", "0-1", "1/2-1/2", "*"}) {
    if (text == result) return result;
  }
  return text == "1/2" ? std::string_view("1/2-1/2") : std::string_view();
}

class Scanner {
 public:
  Scanner(std::string_view text, bool last, GameRecord& game)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), last_(last), game_(game) {}

  std::size_t scan(const TagFilter& filter) {
    clear();
    read_tags();
    game_.verdict = game_.verdict == Verdict::kept ? verdict_of_tags(game_.tags, filter) : game_.verdict;
    while (!ended_ && at_ != end_) scan_token();
    if (at_ == end_ && !last_) return 0;
    conclude();
    return static_cast<std::size_t>(at_ - begin_);
  }

 private:
  void clear() {
    game_.tags = {};
    game_.verdict = Verdict::kept;
    game_.moves.clear();
    game_.plies = 0;
    game_.result = {};
    game_.fault.clear();
  }

  bool at_line_start() const { return at_ == begin_ || at_[-1] == '\n'; }

  /// The first thing wrong with a game that we would keep.
  void fault(const char* what, const char* where, std::size_t length) {
    if (game_.verdict != Verdict::kept) return;
    game_.verdict = Verdict::broken;
    const std::int64_t line = game_.line + std::count(begin_, where, '\n');
    game_.fault = fmt::format("line {}: {}", line, what);
    if (length > 0) game_.fault += fmt::format(": {}", printable({where, length}, kShownToken));
  }

  void read_tags() {
    bool any = false;
    for (;;) {
      while (is_space(*at_)) ++at_;
      if (*at_ != '[') return;
      const bool next_game = std::string_view(at_, end_).starts_with(kNextGame.substr(1));
      if (any && next_game) {
        ended_ = true;
        return;
      }
      read_tag();
      any = true;
    }
  }

  void read_tag() {
    const char* const after = chess::read_tag(at_, end_, game_.tags);
    if (after == nullptr) {
      fault("a malformed tag", at_, 1);
      skip_line();
    } else {
      at_ = after;
    }
  }

  void scan_token() {
    switch (kind_of(*at_)) {
      case Kind::space:
      case Kind::mark:
        ++at_;
        return;
      case Kind::letter:
        return move_token();
      case Kind::digit:
        return number_or_result();
      case Kind::comment:
        return skip_comment();
      case Kind::line_comment:
        return skip_line();
      case Kind::escape:
        return at_line_start() ? skip_line() : unknown_token();
      case Kind::open:
        return skip_variation();
      case Kind::nag:
        do ++at_;
        while (is_digit(*at_));
        return;
      case Kind::star:
        return end_with(std::string_view(at_, 1));
      case Kind::tag:
        if (!at_line_start()) return unknown_token();
        ended_ = true;  // the next game's, without a result before it
        return;
      case Kind::other:
        return unknown_token();
    }
  }

  std::string_view token() const {
    const char* p = at_ + 1;
    while (!kEndsToken[static_cast<unsigned char>(*p)]) ++p;
    return {at_, p};
  }

  void unknown_token() {
    const std::string_view text = token();
    fault("not a PGN token", at_, text.size());
    at_ += text.size();
  }

  void end_with(std::string_view text) {
    game_.result = result_named(text);
    at_ += text.size();
    ended_ = true;
  }

  void number_or_result() {
    const char* p = at_;
    while (is_digit(*p)) ++p;
    if (*p != '-' && *p != '/') {
      at_ = p;  // a move's number
      return;
    }
    const std::string_view text = token();
    if (!result_named(text).empty()) return end_with(text);
    move_token();
  }

  void move_token() {
    const std::string_view text = token();
    at_ += text.size();
    if (game_.verdict != Verdict::kept || text == "e.p." || text == "ep") return;
    Move move;
    if (const char* wrong = parse_san(position_, text, move)) return fault(wrong, text.data(), text.size());
    apply(position_, move);
    std::array<char, 6> written;
    char* const end = write_uci(move, written.data());
    *end = ' ';
    game_.moves.append(written.data(), static_cast<std::size_t>(end + 1 - written.data()));
    ++game_.plies;
  }

  void skip_line() {
    const void* line_end = std::memchr(at_, '\n', static_cast<std::size_t>(end_ - at_));
    at_ = line_end == nullptr ? end_ : static_cast<const char*>(line_end) + 1;
  }

  void skip_comment() {
    const char* close = static_cast<const char*>(std::memchr(at_, '}', static_cast<std::size_t>(end_ - at_)));
    const std::string_view inside(at_, close == nullptr ? end_ : close);
    std::size_t next_game = std::string_view::npos;
    if (inside.size() > kSwallowsGame) next_game = inside.find(kNextGame);
    if (next_game != std::string_view::npos || close == nullptr) {
      fault("a comment that is never closed", at_, 1);
      at_ = next_game == std::string_view::npos ? end_ : at_ + next_game + 1;
      ended_ = true;
      return;
    }
    at_ = close + 1;
  }

  void skip_variation() {
    const char* const open = at_;
    int depth = 0;
    while (at_ != end_ && !ended_) {
      const char c = *at_;
      if (c == '{') {
        skip_comment();
        continue;
      }
      if (c == ';' || (c == '%' && at_line_start())) {
        skip_line();
        continue;
      }
      if (c == '[' && at_line_start()) break;
      ++at_;
      if (c == '(') ++depth;
      if (c == ')' && --depth == 0) return;
    }
    fault("a variation that is never closed", open, 1);
    ended_ = true;
  }

  void conclude() {
    if (game_.verdict != Verdict::kept) return;
    const std::string_view in_tags = result_named(game_.tags.result);
    if (game_.result.empty()) {
      if (game_.plies == 0) {
        game_.verdict = Verdict::no_moves;
      } else {
        fault("the moves end without a result", at_, 0);
      }
    } else if (in_tags != game_.result && in_tags != "*" && !in_tags.empty() && game_.result != "*") {
      fault("another result than in the tags", at_ - game_.result.size(), game_.result.size());
    } else if (game_.plies == 0) {
      game_.verdict = Verdict::no_moves;
    }
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  bool last_;
  bool ended_ = false;
  GameRecord& game_;
  Position position_ = start_position();
};

}  // namespace

std::size_t scan_game(std::string_view text, bool last, const TagFilter& filter, GameRecord& game) {
  return Scanner(text, last, game).scan(filter);
}

}  // namespace sherd::chess
