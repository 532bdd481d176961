#pragma once
// What a traced step says: the slices with what they belong to, shares of the time, and the texts made of them: a trace
// for viewers (Chrome's JSON, which Perfetto reads as well), a summary for programs, lines for people.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/device/trace.hpp"
#include "sherd/train/metrics.hpp"

namespace sherd {

/// Slices of these names, on the stream that computes, are the ends of a step: Stream::mark.
constexpr const char* kStepBegins = "step begins";
constexpr const char* kStepEnds = "step ends";

/// Times are nanoseconds since the trace began.
struct ProfiledOp {
  std::string_view op, phase, unit;  // phase: forward, backward, optimizer or step; unit: empty if none
  OpKind kind = OpKind::other;
  int stream = 0;
  std::int64_t step = 0, micro_batch = -1;  // -1: of none
  std::int64_t bytes = 0;                   // 0: not known
  std::int64_t begin = 0, end = 0;
};

struct ProfiledStep {
  std::int64_t step = 0, begin = 0, end = 0;
  std::array<std::int64_t, kOpKinds> busy{};  // of the stream that computes, by kind; its waits are communication
  std::int64_t collectives = 0;               // of the other streams in communication, without their waits

  std::int64_t length() const { return end - begin; }
  std::int64_t idle() const;  // what is left
};

struct Profile {
  std::vector<TraceStream> streams;
  int main_stream = -1;             // that computes; -1: no step was traced
  std::vector<ProfiledOp> ops;      // by stream, then time; none overlaps another one of its stream
  std::vector<ProfiledStep> steps;  // those of which both ends were traced, in order
};
Profile read_profile(std::vector<TraceSlice> slices, std::vector<TraceStream> streams);

/// Shares of all steps together: of[kind], and idle; their sum is 1.
struct TimeShares {
  std::array<double, kOpKinds> of{};
  double idle = 0;
};
TimeShares shares_of(const std::vector<ProfiledStep>& steps);

/// What one operation took in all steps, its parts with it (counted_as).
struct OpTotal {
  std::string op;
  OpKind kind = OpKind::other;
  std::int64_t count = 0;
  double seconds = 0;
  double flops_per_second = 0, bytes_per_second = 0;  // by what was planned of it; 0: not known
};
/// On the stream that computes, the longest first.
std::vector<OpTotal> totals_of(const Profile& profile, const StepWork& planned);

struct TraceTitle {
  int rank = 0;
  std::string who;             // "rank 0 (node0)"
  std::int64_t offset_ns = 0;  // of the trace's begin from the time that all ranks count from
  double origin = 0;           // that time, in seconds since 1970
};
/// Process: the rank. Threads: the steps, then the streams. Slices nest: phase, unit, operation.
std::string trace_json(const Profile& profile, const TraceTitle& title);

/// {"rank": ..., "seconds_per_step": ..., "share": {"gemm": ..., ..., "idle": ...}, "collectives_seconds_per_step":
/// ...}
std::string rank_json(const Profile& profile, int rank);

struct SummaryFacts {
  int ranks = 1;
  double untraced_seconds = 0;  // of a step before; 0: not known
  StepNeeds needs;
};
/// The keys are listed in docs/profile.md. `ranks`: rank_json of each rank that was traced.
std::string summary_json(const Profile& profile, const SummaryFacts& facts, const std::vector<std::string>& ranks);

std::string step_line(const ProfiledStep& step);
/// The table at the end: shares, speed of light, and the operations that took most.
std::vector<std::string> summary_lines(const Profile& profile, const SummaryFacts& facts);

}  // namespace sherd
