#include "sherd/train/algorithms.hpp"

namespace sherd {

std::string settle_algorithms(Rig& rig, std::span<const ProductKey> products, const std::string& recorded,
                              Exchange& host) {
  rig.synchronize();
  std::string mine;
  together(host, [&] {
    if (host.rank() == 0) mine = rig.choose_algorithms(products, recorded);
  });
  const std::string chosen = host.all_gather(mine).front();
  together(host, [&] { rig.ops().use_algorithms(chosen); });
  return chosen;
}

}  // namespace sherd
