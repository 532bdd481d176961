#include "sherd/comm/flight_recorder.hpp"

#include <algorithm>

namespace sherd {
namespace {

/// A JSON string. Tags are our own literals and parameter names, but a name may come from a file.
std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

}  // namespace

void FlightRecorder::begin(Collective collective, CommTag tag, std::int64_t bytes, double now) {
  at(begun_) = {begun_, collective, tag, bytes, now, 0.0};
  ++begun_;
}

void FlightRecorder::end(double now) {
  at(begun_ - 1).end = now;
}

const FlightRecorder::Entry& FlightRecorder::current() const {
  SHERD_CHECK(begun_ > 0, "no collective was begun");
  return ring_[static_cast<std::size_t>((begun_ - 1) % kEntries)];
}

std::string FlightRecorder::json(const std::string& axis, const std::string& who) const {
  std::string out = fmt::format("{{\"axis\": {}, \"who\": {}, \"collectives\": [", in_quotes(axis), in_quotes(who));
  for (std::int64_t i = std::max<std::int64_t>(0, begun_ - kEntries); i < begun_; ++i) {
    const Entry& e = ring_[static_cast<std::size_t>(i % kEntries)];
    out += fmt::format(
        "{}\n  {{\"sequence\": {}, \"collective\": \"{}\", \"what\": {}, \"step\": {}, \"bytes\": {}, "
        "\"start\": {:.6f}, \"end\": {}}}",
        out.back() == '[' ? "" : ",", e.sequence, name_of(e.collective), in_quotes(e.tag.what), e.tag.step, e.bytes,
        e.start, e.end == 0.0 ? "null" : fmt::format("{:.6f}", e.end));
  }
  return out + "\n]}\n";
}

}  // namespace sherd
