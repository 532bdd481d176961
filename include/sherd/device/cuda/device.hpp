#pragma once
// The CUDA device. Chosen at run time by --device cuda; a build without CUDA links device_stub.cpp, which says so.
#include <memory>
#include <string>

#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// The device of this rank: `local_rank` among those that CUDA_VISIBLE_DEVICES shows. Usage error in a build without
/// CUDA.
std::unique_ptr<sherd::Device> make_device(int local_rank);

/// For --version: "CUDA 13.0", or "not in this build".
std::string version();

}  // namespace sherd::cuda
