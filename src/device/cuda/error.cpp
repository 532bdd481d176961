// From CUDA's error codes to messages that say what to do.
#include <unistd.h>

#include <array>

#include "state.hpp"

namespace sherd::cuda {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unknown host";
}

const char* advice(cudaError_t rc) {
  switch (rc) {
    case cudaErrorMemoryAllocation:
      return "something else uses the device's memory, or the plan is too large: see nvidia-smi, and use more ranks, a "
             "smaller --batch-size-per-device or --activation-checkpointing block";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
      return "ask for a GPU (sbatch --gpus-per-node), and for a node whose driver is new enough for CUDA 13 (580 or "
             "later)";
    case cudaErrorDevicesUnavailable:
      return "the device is taken by another process in exclusive mode, or it has fallen off the bus: see nvidia-smi";
    case cudaErrorSystemNotReady:
      return "the system is not ready: the fabric manager of this node may not be running";
    case cudaErrorNoKernelImageForDevice:
      return "this build has no code for the device: configure with -DSHERD_CUDA_ARCHITECTURES=... for it";
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
      return "the hardware is at fault (see dmesg for its Xid): have the node drained, and resume elsewhere from the "
             "last "
             "checkpoint";
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
      return "dmesg has the Xid; run again from the last checkpoint with --debug to learn which operation it was";
    default:
      return "see dmesg for an Xid; resume from the last checkpoint";
  }
}

ExitCode code_of(cudaError_t rc) {
  switch (rc) {
    case cudaErrorMemoryAllocation:
      return ExitCode::does_not_fit;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorNoKernelImageForDevice:
      return ExitCode::usage;
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemNotReady:
      return ExitCode::hardware;
    default:
      return ExitCode::internal;
  }
}

}  // namespace

void cuda_check(cudaError_t rc, const char* call, std::source_location at) {
  if (rc == cudaSuccess) return;
  int device = -1;
  const bool known = cudaGetDevice(&device) == cudaSuccess && device >= 0;
  throw Error(code_of(rc),
              fmt::format("{} on {}: {} says {} ({}); {}", known ? fmt::format("cuda:{}", device) : "CUDA", host_name(),
                          call, cudaGetErrorString(rc), cudaGetErrorName(rc), advice(rc)),
              at);
}

void DeviceState::rethrow() {
  {
    const std::lock_guard lock(error_mutex);
    if (error) std::rethrow_exception(error);
  }
  const Trouble& t = *host_trouble;
  switch (t.kind) {
    case Trouble::token:
      throw bad_input("token {} at position {}, but the vocabulary has {} entries: is this the model's tokenizer?",
                      t.found, t.at, t.limit);
    case Trouble::target:
      throw bad_input("target {} at position {}, but the vocabulary has {} entries: is this the model's tokenizer?",
                      t.found, t.at, t.limit);
    case Trouble::position:
      SHERD_CHECK(false, "position {} of a table of {}", t.found, t.limit);
      break;
    default:
      break;
  }
}

}  // namespace sherd::cuda
