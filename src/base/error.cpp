#include "sherd/base/error.hpp"

namespace sherd {

void check_failed(const char* expression, const std::string& message, std::source_location at) {
  throw Error(ExitCode::internal, fmt::format("{} (the program expected: {})", message, expression), at);
}

}  // namespace sherd
