#pragma once
// The CUDA device. Chosen at run time by --device cuda; a build without CUDA links device_stub.cpp, which says so.
#include <memory>
#include <string>

#include "sherd/device/device.hpp"

namespace sherd::cuda {

struct Options {
  bool debug = false;  // wait after every op, so that an error names the op that caused it
};

/// Devices that this process may use: 0 without a driver, without a device, and in a build without CUDA.
int device_count();

/// The device of this rank: local_rank modulo device_count(), of those that CUDA_VISIBLE_DEVICES shows. Usage error if
/// there is none, if it is older than compute capability 8.0, or in a build without CUDA.
std::unique_ptr<sherd::Device> make_device(int local_rank, Options options = {});

/// Bytes of the device that nobody has taken, and its size.
struct Memory {
  std::int64_t free = 0, total = 0;
};
Memory memory_of(const sherd::Device& device);

/// Names the physical device, whatever its number is in this process: ranks of a node with the same name share it.
std::string identity_of(const sherd::Device& device);

/// 90: 9.0. Of a cuda device.
int compute_capability_of(const sherd::Device& device);

/// Whether the backend is compiled in, whatever the machine has.
bool in_build();

/// For --version: "13.0, driver 13.0, 1 device: NVIDIA H100 80GB HBM3", or "not in this build".
std::string version();

}  // namespace sherd::cuda
