#include "sherd/ops/backend.hpp"

#include "sherd/ops/cuda/ops.hpp"

namespace sherd {

const Backend& backend_of(std::string_view device) {
  static constexpr Backend kCpu{"cpu", cpu::kWorkspaceBytes, 0, &cpu::make_ops, nullptr};
  static constexpr Backend kCuda{"cuda", cuda::kWorkspaceBytes, cuda::kRuntimeBytes, &cuda::make_ops,
                                 &cuda::attention_slab_bytes};
  return device == kCuda.name ? kCuda : kCpu;
}

}  // namespace sherd
