#pragma once
// Which of the device's algorithms a run computes with: rank 0 chooses, all ranks take the same, checkpoints record it.
#include <string>

#include "sherd/data/exchange.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

/// Ops::choose_algorithms on rank 0, for `needs`; Ops::use_algorithms on all. `recorded`: what the checkpoint that
/// the run goes on from says. Returns what the next one should say. The activations are overwritten. Collective.
std::string settle_algorithms(Rig& rig, const AlgorithmNeeds& needs, const std::string& recorded, Exchange& host);

}  // namespace sherd
