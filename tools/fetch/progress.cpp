#include "progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "sherd/base/log.hpp"
#include "sherd/file/json.hpp"

namespace sherd::fetch {

namespace {

constexpr int kMostFilesShown = 6, kBar = 24;
constexpr std::int64_t kMostFilesListed = 40;  // of more, finished ones are only counted
constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::seconds kLogEvery{10};

int columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/// The end of a long path, where files differ.
std::string shortened(const std::string& path, std::size_t width) {
  if (path.size() <= width) return path;
  std::size_t first = path.size() - (width - 3);
  while (first < path.size() && (static_cast<unsigned char>(path[first]) & 0xc0) == 0x80)
    ++first;  // inside a character
  return "..." + path.substr(first);
}

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

/// What this terminal shows: lines and a tick in UTF-8, colours unless NO_COLOR is set (no-color.org).
struct Looks {
  bool utf8 = false, colour = false;

  static Looks of_terminal() {
    const char* plain = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    Looks looks;
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {  // the first that is set decides
      const std::string_view value = std::getenv(name) == nullptr ? "" : std::getenv(name);
      if (value.empty()) continue;
      looks.utf8 = value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
      break;
    }
    looks.colour = (plain == nullptr || *plain == 0) && terminal != nullptr && std::string_view(terminal) != "dumb";
    return looks;
  }
  std::string paint(const char* code, const std::string& text) const {
    return colour && !text.empty() ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
  }
  std::string bar(double share, int width) const {
    const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
    const std::string rest = repeated(utf8 && colour ? "━" : " ", width - full);
    return paint("36", repeated(utf8 ? "━" : "=", full)) + paint("90", rest);
  }
  std::string tick() const { return paint("32", utf8 ? "✓" : "+"); }
};

const Looks& looks() {
  static const Looks of_terminal = Looks::of_terminal();
  return of_terminal;
}

std::size_t name_width() {
  return static_cast<std::size_t>(std::clamp(columns(), 70, 140) - kBar - 34);
}

std::string drawn_line(const std::string& name, double share, const std::string& what, double rate) {
  return fmt::format("  {:<{}} {} {:>3.0f}% {:>10} {:>10}\n", shortened(name, name_width()), name_width(),
                     looks().bar(share, kBar), 100 * share, what, bytes_text(rate) + "/s");
}

void print_json(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace

std::string bytes_text(double bytes) {
  constexpr std::array units = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < units.size(); ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.3g} {}", bytes, units[unit]);
}

std::string time_text(double seconds) {
  if (seconds > 99 * 3600) return "> 99 h";  // what waits for a server that stays away
  const auto s = static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e8));
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

Progress::Progress(ProgressStyle style) : style_(style), thread_([this] { run(); }) {
  if (style_ != ProgressStyle::terminal) return;
  log::redirect_trouble([this](const std::string& line) {  // above the drawing, or it would be drawn over
    const std::lock_guard lock(mutex_);
    finished_ += line + "\n";
  });
}

Progress::~Progress() {
  log::redirect_trouble({});
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

void Progress::expect(std::int64_t files, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  files_ = files;
  bytes_ = bytes;
}

Progress::File& Progress::begin(const std::string& path, std::int64_t size) {
  const std::lock_guard lock(mutex_);
  File& file = active_.emplace_back();
  file.path = path;
  file.size = size;
  file.begin = Clock::now();
  return file;
}

void Progress::resumed(File& file, std::int64_t kept) {
  const std::lock_guard lock(mutex_);
  file.bytes = file.bytes_at_begin = kept;
  file.begin = Clock::now();
  present_ += kept;
}

void Progress::received(File& file, std::int64_t bytes) {
  file.bytes += bytes;
  received_ += bytes;
  present_ += bytes;
}

void Progress::lost(File& file, std::int64_t bytes) {
  file.bytes -= bytes;
  present_ -= bytes;
}

void Progress::end(File& file, const std::string& digest, bool was_here) {
  const std::lock_guard lock(mutex_);
  ++files_done_;
  const double took = std::chrono::duration<double>(Clock::now() - file.begin).count();
  if (was_here) present_ += file.size - file.bytes;
  if (style_ == ProgressStyle::json) {
    print_json(fmt::format(R"({{"event":"file","path":{},"size":{},"digest":"{}","was_here":{}}})",
                           json_quote(file.path), file.size, digest, was_here));
  } else if (style_ == ProgressStyle::log && !was_here) {
    std::fprintf(stderr, "%s  %s in %s\n", file.path.c_str(), bytes_text(static_cast<double>(file.size)).c_str(),
                 time_text(took).c_str());
  } else if (style_ == ProgressStyle::terminal && files_ <= kMostFilesListed) {
    finished_ += fmt::format("{} {:<{}} {:>8}  {}\n", looks().tick(), shortened(file.path, name_width()), name_width(),
                             bytes_text(static_cast<double>(file.size)),
                             looks().paint("90", was_here   ? "was here"
                                                 : took < 1 ? ""
                                                            : "in " + time_text(took)));
  }
  active_.remove_if([&](const File& f) { return &f == &file; });
}

void Progress::run() {
  std::unique_lock lock(mutex_);
  const auto every = style_ == ProgressStyle::terminal ? Clock::duration(kRedraw) : Clock::duration(kLogEvery);
  while (!wake_.wait_for(lock, every, [this] { return stopping_; })) {
    const Clock::time_point now = Clock::now();
    const double passed = std::chrono::duration<double>(now - rated_).count();
    const double current = static_cast<double>(received_ - received_before_) / passed;
    const double weight = std::min(1.0, passed / 3);  // of the last three seconds or so
    rate_ = rate_ == 0 ? current : rate_ + weight * (current - rate_);
    received_before_ = received_;
    rated_ = now;
    style_ == ProgressStyle::terminal ? draw() : log_line();
  }
  erase_drawing();
  std::fputs(std::exchange(finished_, {}).c_str(), stderr);
}

void Progress::erase_drawing() {
  for (; lines_drawn_ > 0; --lines_drawn_) std::fputs("\033[A\033[2K", stderr);
}

/// Finished files stay on the screen, above what is redrawn.
void Progress::draw() {
  erase_drawing();
  std::string out = std::exchange(finished_, {});
  int shown = 0;
  for (const File& f : active_) {
    if (++shown > kMostFilesShown) break;
    const double share = f.size == 0 ? 1 : static_cast<double>(f.bytes) / static_cast<double>(f.size);
    const double took = std::chrono::duration<double>(Clock::now() - f.begin).count();
    const double rate = took > 0 ? static_cast<double>(f.bytes - f.bytes_at_begin) / took : 0;
    out += drawn_line(f.path, share, bytes_text(static_cast<double>(f.size)), rate);
  }
  const double left = static_cast<double>(bytes_ - present_);
  const double share = bytes_ == 0 ? 1 : static_cast<double>(present_) / static_cast<double>(bytes_);
  out += drawn_line(fmt::format("{} of {} files, {} of {}", files_done_, files_,
                                bytes_text(static_cast<double>(present_)), bytes_text(static_cast<double>(bytes_))),
                    share, rate_ > 0 ? time_text(left / rate_) + " left" : "", rate_);
  lines_drawn_ = std::min(shown, kMostFilesShown) + 1;
  std::fputs(out.c_str(), stderr);
}

void Progress::log_line() {
  if (style_ == ProgressStyle::json) {
    print_json(
        fmt::format(R"({{"event":"progress","files_done":{},"files":{},"bytes":{},"bytes_total":{},"rate":{:.0f}}})",
                    files_done_, files_, present_.load(), bytes_, rate_));
    return;
  }
  const double left = static_cast<double>(bytes_ - present_);
  std::fprintf(stderr, "%lld of %lld files, %s of %s, %s/s%s\n", static_cast<long long>(files_done_),
               static_cast<long long>(files_), bytes_text(static_cast<double>(present_)).c_str(),
               bytes_text(static_cast<double>(bytes_)).c_str(), bytes_text(rate_).c_str(),
               rate_ > 0 ? (", " + time_text(left / rate_) + " left").c_str() : "");
}

void Progress::finish(const std::string& directory) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  log::redirect_trouble({});
  const double took = std::max(1e-3, seconds());
  if (style_ == ProgressStyle::json) {
    print_json(fmt::format(R"({{"event":"done","files":{},"bytes":{},"fetched":{},"seconds":{:.3f},"directory":{}}})",
                           files_, bytes_, received_.load(), took, json_quote(directory)));
    return;
  }
  std::fprintf(stderr, "%lld files, %s, of which %s fetched in %s (%s/s), every one hashed: %s\n",
               static_cast<long long>(files_), bytes_text(static_cast<double>(bytes_)).c_str(),
               bytes_text(static_cast<double>(received_)).c_str(), time_text(took).c_str(),
               bytes_text(static_cast<double>(received_) / took).c_str(), directory.c_str());
}

}  // namespace sherd::fetch
