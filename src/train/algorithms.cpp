#include "sherd/train/algorithms.hpp"

namespace sherd {

std::string settle_algorithms(Rig& rig, const AlgorithmNeeds& needs, const std::string& recorded, Exchange& host) {
  rig.synchronize();
  std::string mine;
  together(host, [&] {
    if (host.rank() == 0) mine = rig.choose_algorithms(needs, recorded);
  });
  const std::string chosen = host.all_gather(mine).front();
  together(host, [&] { rig.use_algorithms(chosen, needs); });
  return chosen;
}

}  // namespace sherd
