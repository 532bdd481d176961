#pragma once
// The part of TOML that a flat list of settings needs: key = value lines and comments.
#include <filesystem>
#include <string>
#include <vector>

namespace sherd::config {

struct TomlSetting {
  enum class Kind { text, number, boolean, texts };
  std::string key;
  Kind kind = Kind::text;
  std::vector<std::string> values;  // one, but for Kind::texts
  int line = 0;
};

/// The settings of a file, in its order. Tables, dotted keys, duplicates and anything that is no TOML are usage errors
/// that name file and line.
std::vector<TomlSetting> read_toml(const std::filesystem::path& path);
std::vector<TomlSetting> parse_toml(const std::string& text, const std::string& source);

}  // namespace sherd::config
