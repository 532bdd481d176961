#include "chess/pgn_tags.hpp"

#include <algorithm>

#include "chess/position.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
constexpr bool in_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

void keep(GameTags& tags, std::string_view name, std::string_view value) {
  if (name == "Result") tags.result = value;
  if (name == "Termination") tags.termination = value;
  if (name == "Variant") tags.variant = value;
  if (name == "SetUp") tags.set_up = value;
  if (name == "FEN") tags.fen = value;
  if (name == "WhiteElo") tags.white_elo = value;
  if (name == "BlackElo") tags.black_elo = value;
}

/// The quote before the ']' that ends a tag. Other quotes inside the value are let pass: many files do not escape them.
const char* closing_quote(const char* value, const char* end) {
  for (const char* p = value; p != end && *p != '\n'; ++p) {
    if (*p == '\\' && p[1] != '\n') {
      if (++p == end) return nullptr;
    } else if (*p == '"') {
      const char* after = p + 1;
      while (is_blank(*after)) ++after;
      if (*after == ']') return p;
    }
  }
  return nullptr;
}

bool is_standard_start(std::string_view fen) {
  try {
    return same_position(parse_fen(fen), start_position());
  } catch (const Error&) {
    return false;  // not ours to complain about: the game is left out in any case
  }
}

}  // namespace

Verdict verdict_of_tags(const GameTags& tags, const TagFilter& filter) {
  std::string variant(tags.variant);
  std::transform(variant.begin(), variant.end(), variant.begin(), [](char c) { return c | ' '; });
  const bool standard = variant.empty() || variant == "standard" || variant == "chess" || variant == "normal";
  if (!standard && variant != "from position") return Verdict::variant;
  if (!tags.fen.empty() && !is_standard_start(tags.fen)) return Verdict::set_up;
  if (tags.fen.empty() && (tags.set_up == "1" || !standard)) return Verdict::set_up;
  return filter(tags);
}

const char* read_tag(const char* open, const char* end, GameTags& tags) {
  const char* p = open + 1;
  while (is_blank(*p)) ++p;
  const char* const name = p;
  while (in_name(*p)) ++p;
  const std::string_view name_text(name, p);
  while (is_blank(*p)) ++p;
  if (name_text.empty() || *p != '"') return nullptr;
  const char* const value = p + 1;
  const char* const close = closing_quote(value, end);
  if (close == nullptr) return nullptr;
  keep(tags, name_text, {value, close});
  for (p = close + 1; *p != ']';) ++p;
  return p + 1;
}

}  // namespace sherd::chess
