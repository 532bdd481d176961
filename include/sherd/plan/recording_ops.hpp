#pragma once
// Ops that touch no data: the step runs on them to be planned. They add up the floating-point operations of products
// and attention, the two that a step's time is made of, and note their shapes.
#include <set>

#include "sherd/ops/algorithms.hpp"

namespace sherd {

struct PlannedOps {
  double product_flops = 0;    // of linear and cross entropy, forward, backward and recomputation
  double f8_flops = 0;         // of the products those in eight bits
  double attention_flops = 0;  // causal, as if every document filled its sequence
  std::int64_t calls = 0;
  std::set<ProductKey> products;      // their shapes
  std::set<AttentionKey> attentions;  // shapes in bf16; no operation knows how many documents there are
};

/// `totals` must outlive what is made.
std::unique_ptr<Ops> make_recording_ops(PlannedOps& totals);

}  // namespace sherd
