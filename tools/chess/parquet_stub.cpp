// Where Apache Arrow is missing.
#include "chess/game_reader.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {

std::unique_ptr<GameReader> parquet_games(const std::string& path, TagFilter) {
  throw bad_input(
      "{}: a Parquet file, which this build cannot read; convert it with tools/parquet_to_jsonl.py, or install Apache "
      "Arrow (libparquet-dev, or pip install pyarrow) and build again",
      path);
}

}  // namespace sherd::chess
