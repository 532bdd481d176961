#pragma once
// The happens-before checker (law 4). Every stream has a vector clock; recording an event publishes it, waiting joins
// it, and a host that has synchronized with a stream joins it too. Two accesses of one range, one of them a write, on
// two streams whose clocks do not order them, are a missing wait, even when the numbers came out right.
#include <cstdint>
#include <string>
#include <vector>

#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {

class Hazards {
 public:
  using Clock = std::vector<std::uint64_t>;  // one component per stream; the host is stream 0

  Hazards() { add_stream("host"); }
  std::size_t add_stream(const std::string& name);
  /// One item of work enqueued on `stream`: throws Error if it races with an earlier one.
  void item(std::size_t stream, const char* label, const Access& access);
  Clock record(std::size_t stream) const { return streams_[stream].clock; }
  void wait(std::size_t stream, const Clock& clock) { join(streams_[stream].clock, clock); }
  /// The host has waited for `stream`: all that it enqueues from now on comes later.
  void host_waited(std::size_t stream);

 private:
  struct Past {
    Access::Range range;
    std::uint64_t time;
    const char* label;
  };
  struct Row {
    std::string name;
    Clock clock;
    std::vector<Past> past;
  };
  static void join(Clock& into, const Clock& other);
  void check(std::size_t stream, const char* label, const Access::Range& range) const;

  std::vector<Row> streams_;
};

}  // namespace sherd::cpu
