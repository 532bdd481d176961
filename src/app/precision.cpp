#include "precision.hpp"

#include <fmt/ranges.h>

#include "sherd/base/log.hpp"
#include "sherd/model/projection.hpp"
#include "sherd/ops/product.hpp"

namespace sherd::app {
namespace {

constexpr int kOldest = 89;  // Ada; Hopper is 90

}  // namespace

void require_fp8(const TrainConfig& config, const Machine& machine) {
  if (!config.fp8 || machine.kind != "cuda") return;
  const int capability = cuda::compute_capability_of(*machine.device);
  if (capability >= kOldest) return;
  throw usage_error("--fp8 needs compute capability 8.9 or later, and {} has {}.{}; leave --fp8 out",
                    machine.device->describe(), capability / 10, capability % 10);
}

void log_fp8(const TrainConfig& config, const ModelConfig& model, const PlannedOps& ops) {
  if (!config.fp8) return;
  log::info(
      "products in eight bits (--fp8): {:.1f}% of their {:.3f} TFLOP per rank and step; embedding, output and "
      "attention stay in bf16",
      100 * ops.f8_flops / ops.product_flops, ops.product_flops / 1e12);
  const std::vector<std::string> without =
      products_without_f8(model, config.batch_size_per_device * config.max_seq_length);
  if (without.empty()) return;
  log::warn("in bf16 in spite of --fp8, since not all of their dimensions (tokens, out, in) are multiples of {}: {}",
            kF8Multiple, fmt::join(without, ", "));
}

}  // namespace sherd::app
