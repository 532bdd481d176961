#pragma once
// Foreign text in messages: short, and without what a terminal would obey.
#include <string>
#include <string_view>

namespace sherd::chess {

inline std::string printable(std::string_view text, std::size_t longest) {
  std::string shown;
  for (const char c : text.substr(0, longest)) shown += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > longest ? shown + "..." : shown;
}

}  // namespace sherd::chess
