#include <chrono>

#include "state.hpp"

namespace sherd::cuda {

double host_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace sherd::cuda
