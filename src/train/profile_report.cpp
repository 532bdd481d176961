#include "sherd/train/profile_report.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "sherd/ops/work.hpp"

namespace sherd {
namespace {

/// The phases that a step names (train/pass.cpp, shard/sharded_model.cpp); what is outside of them is "step".
constexpr std::array<std::string_view, 3> kPhases = {"forward", "backward", "optimizer"};
constexpr std::string_view kOutside = "step";

bool is_phase(std::string_view name) {
  return std::find(kPhases.begin(), kPhases.end(), name) != kPhases.end();
}

std::int64_t nanoseconds(double seconds) {
  return std::llround(seconds * 1e9);
}

/// The unit is the innermost range that is no phase: a tied root is entered before them.
ProfiledOp placed(const TraceSlice& slice) {
  ProfiledOp op;
  op.op = slice.op;
  op.kind = kind_of(op.op);
  op.phase = kOutside;
  op.stream = slice.stream;
  op.step = slice.step;
  op.begin = nanoseconds(slice.begin);
  op.end = nanoseconds(slice.end);
  for (std::size_t i = 0; i < slice.ranges; ++i) {
    const TraceRange& range = slice.range[i];
    (is_phase(range.name) ? op.phase : op.unit) = range.name;
    if (range.bytes > 0) op.bytes = range.bytes;
  }
  return op;
}

/// In the order of enqueueing, in which all streams are in one phase: a micro-batch begins where forward comes after
/// another one.
class MicroBatches {
 public:
  void number(ProfiledOp& op) {
    if (op.step != step_) {
      step_ = op.step;
      now_ = -1;
      phase_ = kOutside;
    }
    if (op.phase == "forward" && phase_ != "forward") ++now_;
    phase_ = op.phase;
    if (op.phase == "forward" || op.phase == "backward") op.micro_batch = now_;
  }

 private:
  std::int64_t step_ = -1, now_ = -1;
  std::string_view phase_ = kOutside;
};

/// The resolution of a device's clock may let neighbours overlap by a bit.
void order(std::vector<ProfiledOp>& ops) {
  std::stable_sort(ops.begin(), ops.end(), [](const ProfiledOp& a, const ProfiledOp& b) {
    return std::tie(a.stream, a.begin) < std::tie(b.stream, b.begin);
  });
  std::int64_t free = 0;
  int stream = -1;
  for (ProfiledOp& op : ops) {
    if (op.stream != stream) free = std::numeric_limits<std::int64_t>::min();
    stream = op.stream;
    op.begin = std::max(op.begin, free);
    op.end = std::max(op.end, op.begin);
    free = op.end;
  }
}

bool is_wait(const ProfiledOp& op) {
  return op.op == Trace::kWaitsForCommunication || op.op == Trace::kWaitsForComputation;
}

/// Takes the marks out of `ops`.
std::vector<ProfiledStep> take_steps(std::vector<ProfiledOp>& ops, int main_stream) {
  std::map<std::int64_t, ProfiledStep> open;
  std::vector<ProfiledStep> whole;
  for (const ProfiledOp& op : ops) {
    if (op.op == kStepBegins) open[op.step] = {op.step, op.end, op.end};
    if (op.op != kStepEnds || !open.contains(op.step)) continue;
    open[op.step].end = op.begin;
    whole.push_back(open[op.step]);
  }
  std::erase_if(ops, [](const ProfiledOp& op) { return op.op == kStepBegins || op.op == kStepEnds; });
  for (ProfiledStep& step : whole) {
    for (const ProfiledOp& op : ops) {
      const std::int64_t length = std::min(op.end, step.end) - std::max(op.begin, step.begin);
      if (length <= 0) continue;
      if (op.stream == main_stream)
        step.busy[static_cast<std::size_t>(op.kind)] += length;
      else if (op.kind == OpKind::communication && !is_wait(op))
        step.collectives += length;
    }
  }
  return whole;
}

}  // namespace

std::int64_t ProfiledStep::idle() const {
  std::int64_t left = length();
  for (const std::int64_t part : busy) left -= part;
  return left;
}

Profile read_profile(std::vector<TraceSlice> slices, std::vector<TraceStream> streams) {
  std::sort(slices.begin(), slices.end(),
            [](const TraceSlice& a, const TraceSlice& b) { return a.sequence < b.sequence; });
  Profile profile;
  profile.streams = std::move(streams);
  for (const TraceSlice& slice : slices)
    if (slice.op == std::string_view(kStepBegins)) profile.main_stream = slice.stream;
  MicroBatches micro_batches;
  for (const TraceSlice& slice : slices) micro_batches.number(profile.ops.emplace_back(placed(slice)));
  order(profile.ops);
  profile.steps = take_steps(profile.ops, profile.main_stream);
  return profile;
}

TimeShares shares_of(const std::vector<ProfiledStep>& steps) {
  TimeShares shares;
  double length = 0;
  for (const ProfiledStep& step : steps) length += static_cast<double>(step.length());
  if (length <= 0) return shares;
  for (const ProfiledStep& step : steps) {
    for (std::size_t kind = 0; kind < shares.of.size(); ++kind)
      shares.of[kind] += static_cast<double>(step.busy[kind]) / length;
    shares.idle += static_cast<double>(step.idle()) / length;
  }
  return shares;
}

std::vector<OpTotal> totals_of(const Profile& profile, const StepWork& planned) {
  std::map<std::string_view, OpTotal> by_name;
  for (const ProfiledOp& op : profile.ops) {
    const bool whole = std::any_of(profile.steps.begin(), profile.steps.end(),
                                   [&](const ProfiledStep& step) { return step.step == op.step; });
    if (op.stream != profile.main_stream || !whole) continue;
    OpTotal& sum = by_name[counted_as(op.op)];
    sum.kind = op.kind;
    ++sum.count;
    sum.seconds += static_cast<double>(op.end - op.begin) / 1e9;
  }
  std::vector<OpTotal> totals;
  for (auto& [name, sum] : by_name) {
    sum.op = name;
    if (const auto work = planned.find(name); work != planned.end() && sum.seconds > 0) {
      const double times = static_cast<double>(profile.steps.size()) / sum.seconds;
      sum.flops_per_second = work->second.flops * times;
      sum.bytes_per_second = work->second.bytes * times;
    }
    totals.push_back(std::move(sum));
  }
  std::sort(totals.begin(), totals.end(),
            [](const OpTotal& a, const OpTotal& b) { return std::tie(b.seconds, a.op) < std::tie(a.seconds, b.op); });
  return totals;
}

}  // namespace sherd
