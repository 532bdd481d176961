#include "sherd/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <functional>
#include <memory>
#include <mutex>

namespace sherd::log {
namespace {

/// Progress goes to stdout, trouble to stderr, so that `sherd train > log` still shows errors.
struct Sinks {
  std::shared_ptr<spdlog::logger> out, err;
  int rank = 0, world = 1;
  std::mutex mutex;
  std::function<void(const std::string&)> trouble;  // takes warnings and errors where it is set
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

void redirect_trouble(std::function<void(const std::string&)> take) {
  const std::lock_guard lock(sinks().mutex);
  sinks().trouble = std::move(take);
}

void set_level(Level least) {
  sinks().out->set_level(least == Level::debug ? spdlog::level::debug : spdlog::level::info);
}

std::string printable(std::string_view text) {
  std::string shown(text);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto c = static_cast<unsigned char>(shown[i]);
    const auto before = static_cast<unsigned char>(i > 0 ? shown[i - 1] : 0);
    const bool c1 = before == 0xc2 && c >= 0x80 && c < 0xa0;  // U+0080 to U+009F in UTF-8
    if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f || c1) shown[i] = '?';
    if (c1) shown[i - 1] = '?';
  }
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
      const std::string whole = s.world > 1 ? fmt::format("sherd: {} (rank {}): {}", kind, s.rank, line)
                                            : fmt::format("sherd: {}: {}", kind, line);
      const std::lock_guard lock(s.mutex);
      if (s.trouble) return s.trouble(whole);
      s.err->error("{}", whole);
      s.err->flush();
    }
  }
}

}  // namespace sherd::log
