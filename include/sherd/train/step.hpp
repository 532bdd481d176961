#pragma once
// TrainStep: one optimizer step over micro-batches: divisor, forward and backward, reduction, norm, clip, AdamW,
// report. The host enqueues and goes on: on one rank a step is enqueued while the one before it is computed, so that
// the device never waits for the host, and what is the same in every step is recorded and started as a whole.
#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "sherd/data/batch.hpp"
#include "sherd/device/repeated_work.hpp"
#include "sherd/train/pass.hpp"

namespace sherd {

struct StepOptions {
  std::int64_t batch = 1, length = 512, accumulation = 1;  // B, T, A: constant over a run
  DType act = DType::f32;
  bool fp8 = false;  // products of the blocks in eight bits; with act bf16
  Recompute recompute;
  std::int64_t loss_chunk = 0;  // rows of logits alive at once; 0: what the backend likes best (logits_rows)
  float max_grad_norm = 1.0f;   // 0: no clipping
  AdamWHyper adamw;
  float weight_decay = 0.01f;
  bool decay_all = false;             // also norm gains (the reference demo)
  bool mean_per_micro_batch = false;  // the reference demo's loss: the mean of micro-batch means, not of tokens
  std::uint64_t seed = 42;            // of stochastic rounding
  bool record = true;  // what is the same in every step is recorded where a device can (CUDA graphs), on one rank
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
  /// On the way of an exception a step may still be under way, which copies from and to what goes now.
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  /// Enqueues one step on this rank's A micro-batches, which are copied; `number` counts from 0. At most kAhead steps
  /// are under way.
  void enqueue(std::int64_t number, std::span<const HostBatch> micro_batches, double learning_rate);
  /// Blocks until the oldest step under way is done. numerical_error when its loss or norm are not finite.
  StepResult finish();
  std::size_t under_way() const { return under_way_.size(); }
  /// Whether a step may be enqueued while another is under way. With peers it may not: what a step sends is counted
  /// when it has ended.
  bool runs_ahead() const { return context_.world.size() == 1; }
  static constexpr std::size_t kAhead = 2;

  /// Whether work is recorded and recordings are started (StepOptions::record): a trace sees operations one by one.
  void use_recordings(bool on) { uses_recordings_ = on && options_.record && context_.world.size() == 1; }

  /// One step, enqueued and finished.
  StepResult run(std::int64_t number, std::span<const HostBatch> micro_batches, double learning_rate);
  /// Mean loss per token over all batches of all ranks. `next` gives this rank's next batch, null at the end; the ranks
  /// give equally many. No step may be under way.
  double evaluate(const std::function<const HostBatch*()>& next);
  Pass& pass() { return pass_; }

 private:
  /// What the device copies from and to the host for one step, until the step is done.
  struct Staging {
    HostMemory memory;
    std::unique_ptr<Event> done;
  };
  template <class T>
  std::span<T> staged(const Staging& s, std::int64_t first, std::int64_t count) const;
  std::span<std::int32_t> staged_batch(const Staging& s, std::int64_t micro_batch, std::int64_t part) const;
  void stage(const Staging& s, std::int64_t number, std::span<const HostBatch> batches, double learning_rate);
  void upload_scalars(const Staging& s, std::int64_t number);
  void upload_tokens(const Staging& s, std::int64_t micro_batch);
  void upload_batch(const Staging& s, std::int64_t micro_batch);
  void stage_batch(const Staging& s, std::int64_t micro_batch, const HostBatch& host);
  DeviceBatch device_batch() const;
  void micro_batch(std::int64_t i);
  void optimize();
  void sum_over_world(Tensor scalars, const char* what, std::int64_t step, Event& ready, Event& done);
  Tensor scalar(std::int64_t which) const { return scalars_.flat(which, 1); }

  StepContext context_;
  StepOptions options_;
  Tensor rope_table_;
  Tensor batch_;         // (3, B, T) i32: tokens, targets, doc_start of the micro-batch that is computed
  Tensor scalars_;       // f32, in the order of the enum in step.cpp
  Tensor rounding_key_;  // (2) i32, the step's
  Pass pass_;
  std::array<Staging, kAhead> staging_;
  std::deque<std::int64_t> under_way_;  // numbers of steps; number % kAhead is their staging
  bool uses_recordings_;
  RepeatedWork first_micro_batch_, next_micro_batch_, optimizer_;
  std::unique_ptr<Event> divisor_ready_, divisor_done_, loss_ready_, loss_done_;
};

}  // namespace sherd
