#include "hazards.hpp"

#include <algorithm>

namespace sherd::cpu {

std::size_t Hazards::add_stream(const std::string& name) {
  streams_.push_back({name, {}, {}});
  for (Row& row : streams_) row.clock.resize(streams_.size());
  return streams_.size() - 1;
}

void Hazards::join(Clock& into, const Clock& other) {
  for (std::size_t i = 0; i < other.size(); ++i) into[i] = std::max(into[i], other[i]);
}

void Hazards::item(std::size_t stream, const char* label, const Access& access) {
  Row& row = streams_[stream];
  join(row.clock, streams_[0].clock);  // enqueueing is a host action
  ++row.clock[stream];
  for (const Access::Range& range : access.ranges) check(stream, label, range);
  for (const Access::Range& range : access.ranges) row.past.push_back({range, row.clock[stream], label});
}

void Hazards::check(std::size_t stream, const char* label, const Access::Range& range) const {
  const Clock& seen = streams_[stream].clock;
  for (std::size_t other = 0; other < streams_.size(); ++other) {
    if (other == stream) continue;
    for (const Past& past : streams_[other].past) {
      const bool conflict =
          (range.write || past.range.write) && range.begin < past.range.end && past.range.begin < range.end;
      SHERD_CHECK(!conflict || past.time <= seen[other],
                  "missing wait: '{}' on stream {} {} memory that '{}' on stream {} {}, and no event orders them",
                  label, streams_[stream].name, range.write ? "writes" : "reads", past.label, streams_[other].name,
                  past.range.write ? "writes" : "reads");
    }
  }
}

void Hazards::host_waited(std::size_t stream) {
  Clock& host = streams_[0].clock;
  join(host, streams_[stream].clock);
  for (std::size_t i = 0; i < streams_.size(); ++i) {  // what the host has seen can race with nothing to come
    std::erase_if(streams_[i].past, [&](const Past& p) { return p.time <= host[i]; });
  }
}

}  // namespace sherd::cpu
