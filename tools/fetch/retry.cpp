// When to try again, and how long to wait before.
#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <thread>

#include "http.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::fetch {

namespace {

constexpr double kLongestAskedWait = 900;  // the Hub counts in windows of five minutes

/// The number after `key` in "api";r=0;t=55; -1 when it is not there.
double number_after(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return -1;
  double value = -1;
  std::from_chars(text.data() + at + key.size(), text.data() + text.size(), value);
  return value;
}

}  // namespace

bool is_temporary(int status) {
  return status == 408 || status == 429 || status >= 500;
}

double asked_wait(const Answer& answer) {
  double seconds = 0;
  const std::string after = answer.header("retry-after"), limit = answer.header("ratelimit");
  if (!after.empty()) {
    const auto parsed = std::from_chars(after.data(), after.data() + after.size(), seconds);
    const std::time_t date = parsed.ptr == after.data() + after.size() ? -1 : curl_getdate(after.c_str(), nullptr);
    if (date > 0) seconds = static_cast<double>(date - std::time(nullptr));
  }
  if (number_after(limit, "r=") == 0) seconds = std::max(seconds, number_after(limit, "t="));
  return std::clamp(seconds, 0.0, kLongestAskedWait);
}

void Retry::wait(const std::string& reason, double asked_seconds) {
  if (stop_requested()) throw Interrupted("stopped");
  if (++attempts_ > options_.retries) {
    throw comm_error(
        "{}: {} attempts in a row brought nothing; the last one: {}. What has come is kept: start the "
        "same command again to go on",
        shown(url_), attempts_, reason);
  }
  const double doubled = options_.retry_wait * (1 << std::min(attempts_ - 1, 3));
  const double seconds = asked_seconds > 0 ? asked_seconds : doubled;
  log::warn("{}: {}; trying again in {:.3g} s", shown(url_), reason, seconds);
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    if (stop_requested()) throw Interrupted("stopped");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace sherd::fetch
