#pragma once
// What is fuzzed: each parser of hostile input, one file per layer. A target may throw sherd::Error and nothing else.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sherd::test {

struct FuzzTarget {
  const char* name;
  std::vector<std::string> (*seeds)(const std::filesystem::path& scratch);  // valid inputs, which are then mutated
  void (*run)(const std::string& input, const std::filesystem::path& scratch);
};

std::vector<FuzzTarget> config_targets();
std::vector<FuzzTarget> io_targets();
std::vector<FuzzTarget> data_targets();
std::vector<FuzzTarget> ops_targets();
std::vector<FuzzTarget> chess_targets();

/// The bytes as a file, for parsers that open one.
std::filesystem::path as_file(const std::string& bytes, const std::filesystem::path& scratch);

}  // namespace sherd::test
