#include "../../src/device/cuda/state.hpp"
#include "fibers.hpp"

namespace sherd::cuda {

double host_seconds() {
  return emulation::host_microseconds() / 1e6;
}

}  // namespace sherd::cuda
