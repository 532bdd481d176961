#pragma once
// Does the plan of a run fit the machine; and if it does not, what does?
#include "machine.hpp"
#include "sherd/plan/training_plan.hpp"

namespace sherd::app {

/// The mesh that a validated configuration asks for. `shares`: of GPUs, or empty.
MeshOptions mesh_options(const TrainConfig& config, const DeviceShares& shares = {});

/// does_not_fit, before anything is loaded: unless this node's ranks fit into its memory together; with GPUs unless the
/// ranks of this rank's device fit into what is free of it.
void require_fit(const TrainingPlan& plan, const TrainConfig& config, const ModelConfig& model, const NodeMap& nodes,
                 const Machine& machine, int rank);

/// On a GPU, while all ranks hold its memory: what its libraries took beside the arena, in the log.
void report_runtime(const TrainingPlan& plan, const Machine& machine, int rank);

/// The change of `config` that costs least among those whose plan takes at most `bytes` a rank, as flags, or as what
/// else to ask for; empty if none does. `bytes_alone`: of a rank that has a device for itself.
std::string nearest_fit(const TrainConfig& config, const ModelConfig& model, const NodeMap& nodes, std::int64_t bytes,
                        std::int64_t bytes_alone);

}  // namespace sherd::app
