#pragma once
// Rig: the machinery of one run on one rank, in the order it is built: memory, mesh, ops, streams, sharded model, step.
// The plan builds the same rig on measuring arenas, recording ops and a recording mesh (law 3).
#include <functional>
#include <memory>

#include "sherd/config/train_config.hpp"
#include "sherd/mesh/mesh.hpp"
#include "sherd/ops/algorithms.hpp"
#include "sherd/ops/backend.hpp"
#include "sherd/train/step.hpp"

namespace sherd {

/// The settings of a run in the terms of the layers below. The plan and the rig are given the same. `config` must be
/// validated; --device auto counts as the CPU.
struct RigOptions {
  ShardOptions shard;
  StepOptions step;
  const Backend* backend = &backend_of("cpu");  // its workspace, and its rows of logits
  /// Backend::attention_slab_bytes where a library's attention may compete with the backend's own; else null.
  decltype(Backend::attention_slab_bytes) attention_slab_bytes = nullptr;
};
RigOptions rig_options(const TrainConfig& config);

/// What a rig's tensors lie in.
struct RigMemory {
  Arena persistent;   // shards, states, slots, workspaces, tables
  Arena activations;  // of one micro-batch
};

class Rig {
 public:
  struct Makers {
    std::function<Mesh(Arena& persistent)> mesh;
    std::function<std::unique_ptr<Ops>(Tensor workspace)> ops;
  };
  Rig(Device& device, const Makers& makers, const ModelConfig& config, const RigOptions& options, RigMemory memory);

  /// Every parameter drawn from (seed, name, element): the same model on any number of ranks.
  void initialize(std::uint64_t seed);

  /// Ops::choose_algorithms, with the activations' memory as scratch: between steps only.
  std::string choose_algorithms(const AlgorithmNeeds& needs, std::string_view known);
  void use_algorithms(std::string_view text, const AlgorithmNeeds& needs) {
    ops_->use_algorithms(text, needs, attention_slab_);
  }

  /// Waits for both streams. Before the main thread calls MPI: the library is entered by one thread at a time.
  void synchronize() {
    compute_->synchronize();
    comm_->synchronize();
  }

  Device& device() { return device_; }
  Mesh& mesh() { return mesh_; }
  Ops& ops() { return *ops_; }
  Stream& compute() { return *compute_; }
  Stream& comm() { return *comm_; }
  ShardedModel& model() { return model_; }
  TrainStep& step() { return step_; }
  const Arena& persistent() const { return persistent_; }
  const Arena& activations() const { return activations_; }

 private:
  void initialize_piece(const UnitState& state, const ShardPiece& piece, std::uint64_t seed);

  Device& device_;
  Arena persistent_, activations_;
  Mesh mesh_;
  Tensor attention_slab_;  // null: the backend's own kernels compute
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stream> compute_, comm_;
  ShardedModel model_;
  TrainStep step_;
};

}  // namespace sherd
