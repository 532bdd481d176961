#pragma once
// Trainer: the loop over steps, with evaluation, checkpoints, log lines and metrics.
#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>

#include "sherd/data/corpus.hpp"
#include "sherd/data/loader.hpp"
#include "sherd/train/checkpointing.hpp"
#include "sherd/train/metrics.hpp"
#include "sherd/train/schedule.hpp"

namespace sherd {

class Trainer {
 public:
  /// Everything is borrowed. config.device is settled: cpu or cuda. `needs`: what steps are measured against.
  Trainer(const TrainConfig& config, const ModelConfig& model, const Corpus& corpus, Rig& rig, Exchange& host,
          const StepNeeds& needs);

  /// The most documents of a row of any batch, of training and of evaluation.
  std::int64_t most_documents() const { return std::max(train_bins_.most_documents(), eval_bins_.most_documents()); }

  /// Whether a run from `state` has a step to do; else it says so in the log.
  bool has_steps(const RunState& state) const;
  /// From `state` to the end of the run: its last step, or --max-minutes. Saves at the end. Calls `after_second_step`
  /// once, on all ranks, with the streams idle: when libraries have what they take, and work has been recorded. A run
  /// of one step calls it after that.
  void run(RunState state, const std::function<void()>& after_second_step = {});

 private:
  LoaderOptions loader_options(std::int64_t first_step) const;
  std::int64_t second_or_last(std::int64_t first) const { return std::min(first + 2, total_steps_); }
  bool pauses_after(std::int64_t steps, std::int64_t first) const;
  StepReport report(const StepResult& result, const RunState& state, double seconds);
  void evaluate(const RunState& state);
  bool out_of_time() const;
  void write(const std::string& json);

  const TrainConfig& config_;
  const ModelConfig& model_;
  const Corpus& corpus_;
  Rig& rig_;
  Exchange& host_;
  const StepNeeds& needs_;
  BinTable train_bins_, eval_bins_;
  std::int64_t total_steps_ = 0;
  LearningRate learning_rate_;
  std::optional<MetricsFile> metrics_;  // rank 0
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  struct Seen {  // counters at the end of the previous step
    Traffic shard, replicate, world;
    double comm_wait = 0, data_wait = 0;
  } seen_;
  double data_wait_ = 0, smoothed_seconds_ = 0;
};

}  // namespace sherd
