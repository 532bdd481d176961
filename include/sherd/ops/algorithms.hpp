#pragma once
// What a run chooses algorithms for: the shapes that its steps compute.
#include <vector>

#include "sherd/ops/product.hpp"

namespace sherd {

/// The shape of an attention, forward and backward, in bf16.
struct AttentionKey {
  std::int64_t batch = 0, length = 0;  // B, T
  Heads heads;
  std::int64_t documents = 0;  // at most so many in a batch, padding included; 0: every row is one document

  auto operator<=>(const AttentionKey&) const = default;
  /// "B 4 T 1024 heads 32 8 128 documents 64"
  std::string text() const;
};

struct AlgorithmNeeds {
  std::vector<ProductKey> products;
  std::vector<AttentionKey> attentions;  // those that may be computed by a library; at most one per shape
};

}  // namespace sherd
