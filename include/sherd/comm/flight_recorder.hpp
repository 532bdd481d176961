#pragma once
// FlightRecorder: the last collectives of one axis, for the moment when one of them does not end. Each rank writes its
// own file; side by side they show which rank fell behind, and in what.
#include <array>
#include <cstdint>
#include <string>

#include "sherd/comm/communicator.hpp"

namespace sherd {

/// A ring of fixed size that never allocates. Used by the stream's thread alone.
class FlightRecorder {
 public:
  static constexpr std::int64_t kEntries = 256;
  struct Entry {
    std::int64_t sequence = 0;  // counts the collectives of the axis, from 0: equal on all its ranks
    Collective collective{};
    CommTag tag;
    std::int64_t bytes = 0;     // of the tensor that is whole: full or inout
    double start = 0, end = 0;  // seconds since 1970; end 0: has not ended
  };

  void begin(Collective collective, CommTag tag, std::int64_t bytes, double now);
  void end(double now);
  /// The collective begun last; there must be one.
  const Entry& current() const;
  std::int64_t count() const { return begun_; }
  /// {"axis", "who", "collectives": [oldest ... newest]}
  std::string json(const std::string& axis, const std::string& who) const;

 private:
  Entry& at(std::int64_t sequence) { return ring_[static_cast<std::size_t>(sequence % kEntries)]; }
  std::array<Entry, kEntries> ring_{};
  std::int64_t begun_ = 0;
};

}  // namespace sherd
