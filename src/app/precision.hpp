#pragma once
// What --fp8 needs of a device, and what it means for a model.
#include "machine.hpp"
#include "sherd/config/model_config.hpp"
#include "sherd/plan/training_plan.hpp"

namespace sherd::app {

/// Usage error, naming the GPU, if it multiplies nothing in eight bits. The CPU computes what such a GPU would.
void require_fp8(const TrainConfig& config, const Machine& machine);

/// Logs which share of a step's products --fp8 puts into eight bits, and which of the blocks' stay in bf16, and why.
void log_fp8(const TrainConfig& config, const ModelConfig& model, const PlannedOps& ops);

}  // namespace sherd::app
