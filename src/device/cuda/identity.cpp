// Which device a rank computes on, by a name that is the same in all processes of a node; and how new it is.
#include "sherd/base/error.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {

std::string identity_of(const sherd::Device&) {
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  cudaDeviceProp p{};
  CUDA_CHECK(cudaGetDeviceProperties(&p, index));
  std::string name = "GPU-";  // the UUID: a part of a GPU (MIG) has one of its own, and no bus address of its own
  for (const char byte : p.uuid.bytes) name += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return name;
}

int compute_capability_of(const sherd::Device&) {
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  cudaDeviceProp p{};
  CUDA_CHECK(cudaGetDeviceProperties(&p, index));
  return 10 * p.major + p.minor;
}

}  // namespace sherd::cuda
