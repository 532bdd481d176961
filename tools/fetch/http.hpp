#pragma once
// HTTP for one thread: requests with our own redirects (the token stays with the endpoint), retries and messages. Over
// libcurl; https unless the endpoint itself is http.
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sherd::fetch {

struct HttpOptions {
  std::string endpoint = "https://huggingface.co";  // the only place that sees the token
  std::string token;                                // empty: none
  std::string ca_file;                              // empty: the system's
  double connect_timeout = 20, stall_timeout = 60;  // seconds; a stall is that long without a byte
  double retry_wait = 1;                            // seconds before the first retry; doubled up to eight times that
  int retries = 5;                                  // in a row without a byte of progress
};

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string url;                             // that gave this answer, without its query in messages
  std::string body;                            // bounded; of ranges only what is no success

  std::string header(const std::string& name) const {
    const auto at = headers.find(name);
    return at == headers.end() ? "" : at->second;
  }
  bool ok() const { return status >= 200 && status < 300; }
  bool redirect() const { return status >= 300 && status < 400 && headers.contains("location"); }
};

/// Gets the bytes of a success as they come. False stops the transfer, which then counts as done.
using Sink = std::function<bool(std::span<const std::byte>)>;

/// The scheme, host and port that the token may be sent to; and a URL without user, password and query, for messages.
std::string origin_of(const std::string& url);
std::string shown(const std::string& url);

class HttpClient {
 public:
  explicit HttpClient(const HttpOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// With retries and redirects. At most `limit` bytes of body, else bad_input.
  Answer get(const std::string& url, std::int64_t limit);
  /// The first answer that is no redirect within the endpoint: one to another host is returned as it is.
  Answer head(const std::string& url);
  /// Bytes [first, last] once, without retries; redirects are followed, and `answer.url` is where they ended. `accept`
  /// sees every redirect, and then status and headers before the body: false refuses it. Throws Interrupted when the
  /// connection breaks.
  Answer get_range(const std::string& url, std::int64_t first, std::int64_t last,
                   const std::function<bool(const Answer&)>& accept, const Sink& sink);

  const HttpOptions& options() const { return options_; }

 private:
  struct Curl;
  Answer once(const std::string& url, const char* method, const std::string& range,
              const std::function<bool(const Answer&)>& accept, const Sink& sink);
  Answer follow(std::string url, const char* method, const std::string& range, bool leave_endpoint,
                const std::function<bool(const Answer&)>& accept, const Sink& sink);
  Answer with_retries(const std::string& url, const std::function<Answer()>& attempt);

  HttpOptions options_;
  std::string origin_;
  std::unique_ptr<Curl> curl_;
};

/// A connection that broke, or an answer that says "later": try again.
struct Interrupted : std::exception {
  explicit Interrupted(std::string why) : reason(std::move(why)) {}
  const char* what() const noexcept override { return reason.c_str(); }
  std::string reason;
};

/// Between attempts: waits as the server asks (429, 503) or twice as long as the time before; gives up after
/// options.retries attempts in a row that brought nothing.
class Retry {
 public:
  Retry(const HttpOptions& options, std::string url) : options_(options), url_(std::move(url)) {}
  void progressed() { attempts_ = 0; }
  /// communication error once patience is at its end.
  void wait(const std::string& reason, double asked_seconds = 0);

 private:
  const HttpOptions& options_;
  std::string url_;
  int attempts_ = 0;
};

/// 408, 429 and 5xx; and how long the server asks to wait, in seconds (0: it does not say).
bool is_temporary(int status);
double asked_wait(const Answer& answer);

/// Set by a signal or by the first failure: transfers end at their next byte.
void request_stop();
bool stop_requested();

}  // namespace sherd::fetch
