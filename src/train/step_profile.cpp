#include "sherd/train/step_profile.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "sherd/base/log.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/train/profile_report.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kWarmUp = 2;  // steps: allocations, first gathers, the choice of algorithms

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

StepProfile::StepProfile(const TrainConfig& config, std::int64_t first_step, Rig& rig, Exchange& host,
                         const StepNeeds& needs)
    : config_(config),
      first_(first_step + kWarmUp),
      rig_(rig),
      host_(host),
      needs_(needs),
      left_(config.profile),
      mine_(host.rank() < kMostRanks) {}

void StepProfile::begin(std::int64_t step) {
  if (left_ == 0) return finish();
  if (!started_ && (step == first_ - 1 || step == first_)) {  // that before the traced ones is timed alone
    rig_.synchronize();
    if (step == first_) untraced_seconds_ = seconds_since(begun_);
    begun_ = std::chrono::steady_clock::now();
  }
  if (step < first_) return;
  if (!started_) start();
  tracing_ = true;
  Trace& trace = rig_.device().trace();
  mine_ = mine_ && has_room(trace);
  if (!mine_) return;
  slices_before_ = trace.opened();
  trace.set_step(step + 1);  // as log lines count
  rig_.step().use_recordings(false);
  trace.resume();
  rig_.compute().mark(kStepBegins);
}

/// All ranks count from the earliest clock; those of one node have the same.
void StepProfile::start() {
  rig_.synchronize();
  started_ = true;
  const std::vector<std::string> clocks = host_.all_gather(fmt::format("{:.9f}", wall_clock()));
  origin_ = std::strtod(clocks.front().c_str(), nullptr);
  for (const std::string& clock : clocks) origin_ = std::min(origin_, std::strtod(clock.c_str(), nullptr));
  if (!mine_) return;
  rig_.device().trace().start(kMostSlices);
  rig_.device().trace().pause();
}

/// For a step as long as the last one.
bool StepProfile::has_room(const Trace& trace) const {
  if (trace.opened() + slices_of_step_ <= kMostSlices) return true;
  log::warn("--profile {}: a trace ends with {} operations, after {} steps", config_.profile, trace.opened(), traced_);
  return false;
}

void StepProfile::end() {
  if (!tracing_) return;
  tracing_ = false;
  ++traced_;
  --left_;
  if (mine_) {
    rig_.compute().mark(kStepEnds);
    Trace& trace = rig_.device().trace();
    trace.pause();
    rig_.step().use_recordings(true);
    slices_of_step_ = trace.opened() - slices_before_;
  }
}

void StepProfile::finish() {
  left_ = 0;
  if (finished_ || config_.profile == 0) return;
  finished_ = true;
  if (!started_) {
    log::warn("--profile {}: nothing was traced, for the run ended within the {} steps that warm up", config_.profile,
              kWarmUp);
    return;
  }
  rig_.synchronize();
  Trace& trace = rig_.device().trace();
  const Profile profile = read_profile(trace.take(), trace.streams());
  if (trace.dropped() > 0)
    log::warn("--profile {}: a step has more than {} operations; {} are missing in the trace", config_.profile,
              kMostSlices, trace.dropped());
  const bool writes = host_.rank() < kMostRanks;
  std::vector<std::string> ranks = host_.all_gather(writes ? rank_json(profile, host_.rank()) : "");
  ranks.resize(std::min<std::size_t>(ranks.size(), kMostRanks));
  const SummaryFacts facts{host_.size(), untraced_seconds_, needs_};
  for (const ProfiledStep& step : profile.steps) log::info("{}", step_line(step));
  for (const std::string& line : summary_lines(profile, facts)) log::info("{}", line);
  // A profile that cannot be written is no reason to end a run.
  if (const std::optional<Error> error = first_error(host_, [&] { write(profile, facts, ranks, writes); }))
    log::warn("--profile {}: {}", config_.profile, error->what());
  else
    log::info(
        "profile: {} of {} ranks and summary.json are in {}; open a rank's in https://ui.perfetto.dev or "
        "chrome://tracing",
        ranks.size(), host_.size(), folder().string());
}

void StepProfile::write(const Profile& profile, const SummaryFacts& facts, const std::vector<std::string>& ranks,
                        bool writes) const {
  if (!writes) return;
  std::error_code ignored;  // the files say what is wrong
  std::filesystem::create_directories(folder(), ignored);
  const TraceTitle title{host_.rank(), rig_.mesh().nodes.name_of(host_.rank()),
                         std::llround((rig_.device().trace().wall_start() - origin_) * 1e9), origin_};
  write_text(folder() / fmt::format("rank-{}.json", host_.rank()), trace_json(profile, title));
  if (host_.rank() == 0) write_text(folder() / "summary.json", summary_json(profile, facts, ranks));
}

std::filesystem::path StepProfile::folder() const {
  return std::filesystem::path(config_.output) / "profile";
}

}  // namespace sherd
