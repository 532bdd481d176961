// The trace of a CUDA stream: an event with a time before each operation and one after it, read once the stream has
// been waited for, all of it or up to an event. Two events, not one between neighbours: the gap between one operation's
// end and the next one's begin is where the device idles.
//
// A stream that has run dry passes the event before an operation while the host is still launching that operation. Then
// the operation begins later than the event, by what the host took from the one call to the other. The event's delay,
// its time less the host's when it was recorded, tells the two cases apart: it is least where the stream was dry.
#include <algorithm>
#include <limits>
#include <span>

#include "state.hpp"

namespace sherd::cuda {
namespace {

/// Elapsed times are floats of milliseconds: within this many seconds they are exact to 0.03 microseconds.
constexpr double kClockSeconds = 0.5;
/// Operations within which the clocks of device and host do not drift apart by what matters here.
constexpr std::size_t kSameDrift = 256;

double seconds_between(const OwnedEvent& from, const OwnedEvent& to) {
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, from.get(), to.get()));
  return static_cast<double>(milliseconds) / 1e3;
}

}  // namespace

OwnedEvent CudaStream::recorded_event() {
  std::vector<OwnedEvent>& idle = state_->idle_events;
  if (idle.empty()) idle.push_back(make_event(cudaEventDefault));
  OwnedEvent event = std::move(idle.back());
  idle.pop_back();
  CUDA_CHECK(cudaEventRecord(event.get(), native()));
  return event;
}

/// The first operation of a trace sets its clock: the streams are idle, so the event passes as soon as it is recorded.
void CudaStream::begin_slice() {
  DeviceState& state = *state_;
  if (state.clock_of != state.trace.number()) {
    state.clock_seconds = state.trace.now();
    state.clock = recorded_event();
    state.clock_of = state.trace.number();
    CUDA_CHECK(cudaEventSynchronize(state.clock.get()));
  }
  begun_ = recorded_event();
  asked_ = host_seconds();
}

void CudaStream::end_slice(const char* op) {
  const double given = host_seconds();
  SHERD_CHECK(begun_.get() != nullptr, "{} ran, and will_run() was not called before", op);
  if (trace_index_ < 0) trace_index_ = state_->trace.add_stream(name_, times_waits_);
  OwnedEvent begin = std::exchange(begun_, {});
  if (std::unique_ptr<TraceSlice> slice = state_->trace.open(op, trace_index_, state_->ranges))
    traced_.push_back({std::move(slice), std::move(begin), recorded_event(), asked_, given});
  else
    state_->idle_events.push_back(std::move(begin));
}

void CudaStream::mark(const char* what) {
  if (!state_->trace.on()) return;
  begin_slice();
  end_slice(what);
}

/// Long traces are timed in relays, each stream's by its own events.
void CudaStream::time_slice(TracedOp& op) {
  const DeviceState& state = *state_;
  const bool own = clock_of_ == state.clock_of;
  const OwnedEvent& clock = own ? clock_ : state.clock;
  const double seconds = own ? clock_seconds_ : state.clock_seconds;
  op.slice->begin = seconds + seconds_between(clock, op.begin);
  op.slice->end = seconds + seconds_between(clock, op.end);
  if (op.slice->end < seconds + kClockSeconds) return;
  clock_seconds_ = op.slice->end;
  clock_of_ = state.clock_of;
  std::swap(clock_, op.end);
  if (op.end.get() == nullptr) op.end = make_event(cudaEventDefault);
}

/// The first `count` of traced_, which the stream has done; if they are not all, then as many as whole groups have.
void CudaStream::take_slices(std::size_t count) {
  if (count < traced_.size()) count -= count % kSameDrift;
  for (std::size_t first = 0; first < count; first += kSameDrift) {
    const std::span<TracedOp> some = std::span(traced_).subspan(first, std::min(kSameDrift, count - first));
    double least_delay = std::numeric_limits<double>::infinity();
    for (TracedOp& op : some) {
      time_slice(op);
      least_delay = std::min(least_delay, op.slice->begin - op.asked);
    }
    for (TracedOp& op : some) {
      TraceSlice& slice = *op.slice;
      slice.begin = std::min(std::max(slice.begin, op.given + least_delay), slice.end);
      state_->trace.add(slice);
      state_->idle_events.push_back(std::move(op.begin));
      state_->idle_events.push_back(std::move(op.end));
    }
  }
  traced_.erase(traced_.begin(), traced_.begin() + static_cast<std::ptrdiff_t>(count));
  taken_ += count;
}

}  // namespace sherd::cuda
