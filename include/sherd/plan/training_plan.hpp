#pragma once
// The plan of a run: its memory to the byte and its traffic, by running the step itself without data (law 3).
#include <functional>

#include "sherd/plan/recording_ops.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

struct TrainingPlan {
  std::size_t persistent_bytes = 0;  // per rank: shards, slots, workspaces, tables
  std::size_t activation_bytes = 0;  // per rank: the high-water mark of a micro-batch
  StateBytes states;                 // of persistent_bytes
  Traffic shard, replicate, world;   // per step and rank, after the first step
  PlannedOps ops;                    // per step and rank

  /// Of both arenas in one block.
  std::size_t bytes() const { return Arena::aligned(persistent_bytes) + activation_bytes; }
  /// That block, from the device.
  RigMemory allocate(Device& device) const;
};

/// `mesh` makes a planned mesh (Mesh::planned) with the run's axes.
TrainingPlan plan_training(const ModelConfig& config, const RigOptions& options,
                           const std::function<Mesh(Arena& persistent)>& mesh);

/// What a planned step computes, as algorithms are chosen for it. `documents`: the most of one row.
AlgorithmNeeds algorithm_needs(const TrainingPlan& plan, const RigOptions& options, std::int64_t documents);

}  // namespace sherd
