#pragma once
// Ops that touch no data: the step runs on them to be planned. They add up what a step is made of: the floating-point
// operations of products and attention, with their shapes, and the bytes of all else.
#include <set>

#include "sherd/ops/algorithms.hpp"
#include "sherd/ops/work.hpp"

namespace sherd {

struct PlannedOps {
  double product_flops = 0;    // of linear and cross entropy, forward, backward and recomputation
  double f8_flops = 0;         // of the products those in eight bits
  double attention_flops = 0;  // causal, as if every document filled its sequence
  std::int64_t calls = 0;
  /// By operation, under the names of traces. The products of linear_cross_entropy are its FLOPs; the passes over its
  /// logits are the bytes of cross_entropy_loss.
  StepWork work;
  std::set<ProductKey> products;      // their shapes
  std::set<AttentionKey> attentions;  // shapes in bf16; no operation knows how many documents there are
};

/// `totals` must outlive what is made.
std::unique_ptr<Ops> make_recording_ops(PlannedOps& totals);

}  // namespace sherd
