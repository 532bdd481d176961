#pragma once
// TrainStep: one optimizer step over micro-batches: divisor, forward and backward, reduction, norm, clip, AdamW,
// report.
#include <array>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "sherd/data/batch.hpp"
#include "sherd/train/pass.hpp"

namespace sherd {

struct StepOptions {
  std::int64_t batch = 1, length = 512, accumulation = 1;  // B, T, A: constant over a run
  DType act = DType::f32;
  bool fp8 = false;  // products of the blocks in eight bits; with act bf16
  Recompute recompute;
  std::int64_t loss_chunk = 256;  // rows of logits alive at once
  float max_grad_norm = 1.0f;     // 0: no clipping
  AdamWHyper adamw;
  float weight_decay = 0.01f;
  bool decay_all = false;             // also norm gains (the reference demo)
  bool mean_per_micro_batch = false;  // the reference demo's loss: the mean of micro-batch means, not of tokens
  std::uint64_t seed = 42;            // of stochastic rounding, where moments are bf16
};

struct StepContext {
  Device& device;
  Ops& ops;
  Stream& compute;
  Stream& comm;
  Communicator& world;
  ShardedModel& model;
};

struct StepResult {
  double loss = 0;       // of the global batch, before the update
  double grad_norm = 0;  // global, before clipping
};

class TrainStep {
 public:
  TrainStep(StepContext context, const ModelConfig& config, StepOptions options, Arena& persistent, Arena& activations);

  /// One step on this rank's A micro-batches; `number` counts from 0. Blocks until the result is there. numerical_error
  /// when loss or norm are not finite.
  StepResult run(std::int64_t number, std::span<const HostBatch> micro_batches, double learning_rate);
  /// Mean loss per token over all batches of all ranks. `next` gives this rank's next batch, null at the end; the ranks
  /// give equally many.
  double evaluate(const std::function<const HostBatch*()>& next);
  Pass& pass() { return pass_; }

 private:
  void upload_batches(std::span<const HostBatch> batches);
  DeviceBatch device_batch(std::size_t i) const;
  Tensor divisor(std::size_t i) const;
  void upload_scalars(std::int64_t number, std::span<const HostBatch> batches, double learning_rate);
  void sum_over_world(Tensor scalars, const char* what, std::int64_t step, Event& ready, Event& done);

  StepContext context_;
  StepOptions options_;
  Tensor rope_table_;
  Tensor batches_;       // (A, 3, B, T) i32: tokens, targets, doc_start
  Tensor scalars_;       // (7) f32, in the order of the enum in step.cpp
  Tensor divisors_;      // (A) f32
  Tensor rounding_key_;  // (2) i32, the step's
  Pass pass_;
  std::vector<float> host_scalars_, host_divisors_;
  std::array<std::uint32_t, 2> host_rounding_key_{};
  std::array<float, 3> report_{};  // loss, squares, norm
  std::unique_ptr<Event> divisor_ready_, divisor_done_, loss_ready_, loss_done_;
};

}  // namespace sherd
