// Linked when the build has no CUDA.
#include "sherd/device/cuda/device.hpp"

namespace sherd::cuda {

int device_count() {
  return 0;
}

std::unique_ptr<sherd::Device> make_device(int, Options) {
  throw usage_error(
      "--device cuda: this build has no CUDA backend; 'make build' adds it where nvcc is, or use --device cpu");
}

Memory memory_of(const sherd::Device&) {
  return {};
}

std::string identity_of(const sherd::Device&) {
  return {};
}

int compute_capability_of(const sherd::Device&) {
  return 0;
}

bool in_build() {
  return false;
}

std::string version() {
  return "not in this build";
}

}  // namespace sherd::cuda
