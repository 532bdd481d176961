#pragma once
// Ops that touch no data: the step runs on them to be planned. They add up the floating-point operations of products
// and attention, the two that a step's time is made of, and note the products' shapes.
#include <set>

#include "sherd/ops/product.hpp"

namespace sherd {

struct PlannedOps {
  double product_flops = 0;    // of linear and cross entropy, forward, backward and recomputation
  double attention_flops = 0;  // causal, as if every document filled its sequence
  std::int64_t calls = 0;
  std::set<ProductKey> products;  // their shapes
};

/// `totals` must outlive what is made.
std::unique_ptr<Ops> make_recording_ops(PlannedOps& totals);

}  // namespace sherd
