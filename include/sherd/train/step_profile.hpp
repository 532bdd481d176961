#pragma once
// StepProfile: --profile N. The third step of a run and those after it are traced, N in all; then the traces and their
// summary are written to <output>/profile, and the run goes on untraced.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sherd/config/train_config.hpp"
#include "sherd/data/exchange.hpp"
#include "sherd/train/profile_report.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

class StepProfile {
 public:
  /// The first ranks, of which each writes rank-<r>.json; more would only be more to look at.
  static constexpr int kMostRanks = 8;
  /// Operations of a rank's trace, at about 170 bytes of JSON each. No step is begun that would not fit.
  static constexpr std::size_t kMostSlices = 250'000;

  /// Everything is borrowed. `first_step`: of this run; the two before the traced ones warm up.
  StepProfile(const TrainConfig& config, std::int64_t first_step, Rig& rig, Exchange& host, const StepNeeds& needs);

  /// Before anything of the step is done, on all ranks. Where the trace begins the streams are drained; after its last
  /// step: finish().
  void begin(std::int64_t step);
  /// After everything of it is enqueued.
  void end();
  /// Writes what has been traced, if anything is still to be written. Collective, drains the streams.
  void finish();
  /// Between begin() and end() of a step that is traced, on any rank.
  bool tracing() const { return tracing_; }

 private:
  void start();
  bool has_room(const Trace& trace) const;
  void write(const Profile& profile, const SummaryFacts& facts, const std::vector<std::string>& ranks,
             bool writes) const;
  std::filesystem::path folder() const;

  const TrainConfig& config_;
  std::int64_t first_;  // step that is traced
  Rig& rig_;
  Exchange& host_;
  const StepNeeds& needs_;
  std::int64_t left_, traced_ = 0;
  std::size_t slices_before_ = 0, slices_of_step_ = 0;
  bool mine_;  // this rank traces
  bool started_ = false, finished_ = false, tracing_ = false;
  double origin_ = 0;  // the earliest clock of all ranks when the trace began, in seconds since 1970
  std::chrono::steady_clock::time_point begun_{};
  double untraced_seconds_ = 0;
};

}  // namespace sherd
