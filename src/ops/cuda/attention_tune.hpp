#pragma once
// Which kernels compute a run's attention: what is known, what the cache has, what a comparison finds.
#include <span>

#include "attention_table.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// This device, with `library` as CudnnAttention::library says.
AttentionTarget attention_target(const std::string& library);

/// The table in a section from anywhere; an empty one if there is none for this target, which the log says.
AttentionTable attention_table_of(std::string_view section, const std::string& source, const AttentionTarget& target);

/// The section of algorithm_text.hpp for PinnedAttention::pin on every rank; empty if there is nothing to choose, or no
/// cuDNN to choose, which the log says. `known`: such a section. As Ops::choose_algorithms.
std::string choose_attentions(std::span<const AttentionKey> keys, std::string_view known, Tensor slab, Tensor scratch,
                              Stream& s);

}  // namespace sherd::cuda
