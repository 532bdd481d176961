#include "sherd/device/trace.hpp"

#include <algorithm>
#include <utility>

namespace sherd {

void Trace::start(std::size_t most) {
  {
    const std::lock_guard lock(mutex_);
    done_.clear();
  }
  most_ = most;
  opened_ = dropped_ = 0;
  ++number_;
  start_ = Clock::now();
  wall_start_ = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  resume();
}

std::vector<TraceSlice> Trace::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

int Trace::add_stream(std::string name, bool computes) {
  streams_.push_back({std::move(name), computes});
  return static_cast<int>(streams_.size()) - 1;
}

std::unique_ptr<TraceSlice> Trace::open(const char* op, int stream, std::span<const TraceRange> ranges) {
  if (opened_ >= most_) {
    ++dropped_;
    return nullptr;
  }
  auto slice = std::make_unique<TraceSlice>();
  slice->op = op;
  slice->stream = stream;
  slice->step = step_;
  slice->sequence = static_cast<std::int64_t>(opened_++);
  slice->ranges = std::min(ranges.size(), TraceSlice::kRanges);
  std::copy_n(ranges.begin(), slice->ranges, slice->range.begin());
  return slice;
}

void Trace::add(const TraceSlice& done) {
  const std::lock_guard lock(mutex_);
  done_.push_back(done);
}

double Trace::now() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

}  // namespace sherd
