#pragma once
// Passes: the forward and backward passes of a step's micro-batches as TrainStep::run has them, without what follows
// them: norm, clipping, optimizer, and the report that the host waits for.
#include <vector>

#include "sherd/data/batch.hpp"
#include "sherd/train/rig.hpp"

namespace sherd::bench {

class Passes {
 public:
  /// Takes device memory for the batches beside the rig's, and uploads them. `batches`: all of one step.
  Passes(Rig& rig, Device& device, const std::vector<HostBatch>& batches);
  /// One step's passes. The host does not wait.
  void enqueue(std::int64_t number);
  /// Mean loss per token of the last step of this rank; waits for the stream. numerical_error if it is not finite.
  double loss();

 private:
  Rig& rig_;
  Arena arena_;
  std::vector<DeviceBatch> batches_;
  Tensor loss_, divisor_;  // (1) f32
};

}  // namespace sherd::bench
