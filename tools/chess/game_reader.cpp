#include "chess/game_reader.hpp"

#include <array>
#include <filesystem>
#include <fstream>

#include "chess/pgn.hpp"

namespace sherd::chess {
namespace {

bool is_parquet(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;  // what is read from a pipe is gone
  std::array<char, 4> first{};
  std::ifstream file(path, std::ios::binary);
  return file.read(first.data(), first.size()) && std::string_view(first.data(), first.size()) == "PAR1";
}

}  // namespace

std::unique_ptr<GameReader> open_games(const std::string& path, TagFilter filter) {
  if (path != "-" && is_parquet(path)) return parquet_games(path, std::move(filter));
  return std::make_unique<PgnReader>(open_source(path), std::move(filter));
}

}  // namespace sherd::chess
