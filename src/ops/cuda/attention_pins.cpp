#include "attention_pins.hpp"

#include "attention_tune.hpp"
#include "sherd/base/log.hpp"

namespace sherd::cuda {

void PinnedAttention::pin(std::string_view section, std::span<const AttentionKey> needed, Tensor slab) {
  pins_.clear();
  if (section.empty() || needed.empty()) return;
  std::string reason;
  const std::string library = CudnnAttention::library(reason);
  if (library.empty()) {
    log::warn("attention: rank 0 has compared cuDNN's with ours, and here is none, so ours computes: {}", reason);
    return;
  }
  const AttentionTable table = attention_table_of(section, "rank 0", attention_target(library));
  for (const AttentionKey& key : needed) {
    const auto chosen = [&](bool backward) {
      const AttentionTable::Choice* choice = table.find({key, backward});
      return choice != nullptr && choice->by_cudnn();
    };
    Pin made{nullptr, chosen(false), chosen(true)};
    if (!made.forward && !made.backward) continue;
    made.cudnn = CudnnAttention::make(slab, {key.documents, true}, reason);
    if (!made.cudnn) {
      log::warn("attention {}: cuDNN's is chosen and cannot be used here, so ours computes: {}", key.text(), reason);
      continue;
    }
    AttentionKey shape = key;
    shape.documents = 0;
    pins_.insert_or_assign(shape, std::move(made));
  }
}

CudnnAttention* PinnedAttention::find(const AttentionCall& call) {
  if (pins_.empty() || call.qkv.dtype != DType::bf16) return nullptr;
  const auto at = pins_.find({call.shape.b, call.shape.t, call.shape.heads, 0});
  if (at == pins_.end()) return nullptr;
  Pin& pin = at->second;
  if (!(call.dout ? pin.backward : pin.forward)) return nullptr;
  if (pin.cudnn->takes(call)) return pin.cudnn.get();
  if (!std::exchange(pin.warned, true))
    log::warn("attention {}: {} does not take what was chosen for it, so ours computes it; results are as exact",
              AttentionTask{at->first, static_cast<bool>(call.dout)}.text(), pin.cudnn->version());
  return nullptr;
}

}  // namespace sherd::cuda
