#include "sherd/ops/algorithms.hpp"

namespace sherd {

std::string AttentionKey::text() const {
  return fmt::format("B {} T {} heads {} {} {} documents {}", batch, length, heads.query, heads.kv, heads.dim,
                     documents);
}

}  // namespace sherd
