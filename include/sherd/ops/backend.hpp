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
  std::unique_ptr<Ops> (*make_ops)(Tensor workspace) = nullptr;  // usage error if this build has no such backend
  /// Of the slab for attention by a library, with batches of (B, T); null: this backend knows no such library.
  std::int64_t (*attention_slab_bytes)(std::int64_t batch, std::int64_t length, Heads heads) = nullptr;
};

/// Of --device: "cuda" has its own, anything else is the CPU's.
const Backend& backend_of(std::string_view device);

}  // namespace sherd
