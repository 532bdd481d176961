// Linked when the build has no CUDA.
#include "sherd/device/cuda/device.hpp"

namespace sherd::cuda {

std::unique_ptr<sherd::Device> make_device(int) {
  throw usage_error("--device cuda: this build has no CUDA backend; use --device cpu, or leave it out");
}

std::string version() {
  return "not in this build";
}

}  // namespace sherd::cuda
