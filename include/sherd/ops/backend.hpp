#pragma once
// Backend: what makes the Ops of a device, and the memory they want. The plan and the run ask here, so that both take
// the same bytes.
#include <memory>
#include <string_view>

#include "sherd/ops/ops.hpp"

namespace sherd {

struct Backend {
  std::string_view name;             // as in --device: "cpu", "cuda"
  std::int64_t workspace_bytes = 0;  // of the slab that make_ops is given (f32, flat), from the persistent arena
  /// What the device's libraries take of its memory beside the arenas, once they run: an allowance. A run tells what it
  /// was (app/fit.hpp).
  std::int64_t runtime_bytes = 0;
  /// Of the logits of linear_cross_entropy that are alive at once, f32 and their gradients in bf16. A GPU's products
  /// want many rows: each chunk reads and writes the whole gradient of the output projection.
  std::int64_t most_logits_rows = 256, most_logits_bytes = std::int64_t{768} << 20;
  std::unique_ptr<Ops> (*make_ops)(Tensor workspace) = nullptr;  // usage error if this build has no such backend
  /// Of the slab for attention by a library, with batches of (B, T); null: this backend knows no such library.
  std::int64_t (*attention_slab_bytes)(std::int64_t batch, std::int64_t length, Heads heads) = nullptr;
};

/// Rows of a chunk of logits (rows, vocab): at least 1.
std::int64_t logits_rows(const Backend& backend, std::int64_t vocab);

/// Of --device: "cuda" has its own, anything else is the CPU's.
const Backend& backend_of(std::string_view device);

}  // namespace sherd
