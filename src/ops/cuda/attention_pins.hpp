#pragma once
// The attention that a run leaves to cuDNN: for each shape and direction what the table says, for the whole run.
#include <map>
#include <memory>
#include <span>
#include <string_view>

#include "attention_table.hpp"
#include "cudnn_attention.hpp"

namespace sherd::cuda {

class PinnedAttention {
 public:
  /// From now on, those of `needed` that `section` (of algorithm_text.hpp) gives to cuDNN, whose `slab` this is.
  void pin(std::string_view section, std::span<const AttentionKey> needed, Tensor slab);
  /// cuDNN's, if it is pinned for this call; null: ours computes it.
  CudnnAttention* find(const AttentionCall& call);

 private:
  struct Pin {
    std::unique_ptr<CudnnAttention> cudnn;
    bool forward = false, backward = false;
    bool warned = false;
  };
  std::map<AttentionKey, Pin> pins_;  // by shape: documents are 0
};

}  // namespace sherd::cuda
