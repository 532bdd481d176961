#include "sherd/ops/backend.hpp"

#include <algorithm>

#include "sherd/ops/cuda/ops.hpp"

namespace sherd {

std::int64_t logits_rows(const Backend& backend, std::int64_t vocab) {
  constexpr std::int64_t kWhole = 128;  // rows of a product's tiles
  const std::int64_t fit = backend.most_logits_bytes / std::max<std::int64_t>(1, vocab * 6);
  return std::clamp<std::int64_t>(fit > kWhole ? fit / kWhole * kWhole : fit, 1, backend.most_logits_rows);
}

const Backend& backend_of(std::string_view device) {
  static constexpr Backend kCpu{.name = "cpu", .workspace_bytes = cpu::kWorkspaceBytes, .make_ops = &cpu::make_ops};
  static constexpr Backend kCuda{.name = "cuda",
                                 .workspace_bytes = cuda::kWorkspaceBytes,
                                 .runtime_bytes = cuda::kRuntimeBytes,
                                 .most_logits_rows = 4096,
                                 .make_ops = &cuda::make_ops,
                                 .attention_slab_bytes = &cuda::attention_slab_bytes};
  return device == kCuda.name ? kCuda : kCpu;
}

}  // namespace sherd
