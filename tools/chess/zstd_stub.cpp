// Where libzstd is missing.
#include "chess/byte_source.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {

std::unique_ptr<ByteSource> zstd_source(std::unique_ptr<ByteSource>, const std::string& name) {
  throw bad_input(
      "{}: compressed with zstd, which this build cannot read; use zstd -dc FILE | sherd-games -, or install "
      "libzstd's development package and build again",
      name);
}

}  // namespace sherd::chess
