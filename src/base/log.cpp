#include "sherd/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>

namespace sherd::log {
namespace {

/// Progress goes to stdout, trouble to stderr, so that `sherd train > log` still shows errors.
struct Sinks {
  std::shared_ptr<spdlog::logger> out, err;
  int rank = 0, world = 1;
  Sinks()
      : out(std::make_shared<spdlog::logger>("out", std::make_shared<spdlog::sinks::stdout_sink_mt>())),
        err(std::make_shared<spdlog::logger>("err", std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
    out->set_pattern("%v");
    err->set_pattern("%v");
    out->flush_on(spdlog::level::info);
  }
};
Sinks& sinks() {
  static Sinks s;  // the one process-wide thing: the terminal is one, too
  return s;
}

}  // namespace

void init(int rank, int world_size) {
  sinks().rank = rank;
  sinks().world = world_size;
}

void set_level(Level least) {
  sinks().out->set_level(least == Level::debug ? spdlog::level::debug : spdlog::level::info);
}

std::string printable(std::string_view text) {
  std::string shown(text);
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return (c < ' ' && c != '\n' && c != '\t') || c == 0x7f; },
      '?');
  return shown;
}

void write(Level level, std::string_view text) {
  Sinks& s = sinks();
  const std::string line = printable(text);
  switch (level) {
    case Level::debug:
      s.out->debug("[rank {}] {}", s.rank, line);
      break;
    case Level::info:
      if (s.rank == 0) s.out->info("{}", line);
      break;
    case Level::warn:
    case Level::error: {
      const char* kind = level == Level::warn ? "warning" : "error";
      if (s.world > 1)
        s.err->error("sherd: {} (rank {}): {}", kind, s.rank, line);
      else
        s.err->error("sherd: {}: {}", kind, line);
      s.err->flush();
    }
  }
}

}  // namespace sherd::log
