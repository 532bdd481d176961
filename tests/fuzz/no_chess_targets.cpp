// Where the chess programs are not built (no CLI11).
#include "target.hpp"

namespace sherd::test {

std::vector<FuzzTarget> chess_targets() {
  return {};
}

}  // namespace sherd::test
