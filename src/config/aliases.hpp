#pragma once
// The reference demo's own spellings where they are more than underscores for dashes.
#include <array>
#include <string_view>

namespace sherd::config {

struct Alias {
  const char* flag;   // without dashes
  const char* field;  // that it sets
  const char* value;  // to this
};

constexpr std::array<Alias, 2> kAliases = {{
    {"no-fsdp", "sharding", "none"},
    {"gradient-checkpointing", "activation-checkpointing", "block"},
}};

constexpr const Alias* find_alias(std::string_view flag) {
  for (const Alias& alias : kAliases) {
    if (flag == alias.flag) return &alias;
  }
  return nullptr;
}

}  // namespace sherd::config
