#include "http.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <exception>
#include <optional>

#include "sherd/base/error.hpp"

namespace sherd::fetch {

namespace {

constexpr int kMostRedirects = 8;
constexpr std::size_t kMostHeaderBytes = 64 << 10, kMostErrorBytes = 16 << 10;

std::atomic<bool> stopping{false};

/// A parsed URL.
class Url {
 public:
  explicit Url(const std::string& text) {
    if (curl_url_set(url_.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
      throw bad_input("'{}' is no URL; expected https://host/path", text);
    }
  }
  std::string part(CURLUPart which, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(url_.get(), which, &text, flags) != CURLUE_OK) return {};
    std::string copy(text);
    curl_free(text);
    return copy;
  }
  /// Relative and absolute references.
  void follow(const std::string& location) {
    if (curl_url_set(url_.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
      throw bad_input("a redirect from {} to '{}', which is no URL", shown(part(CURLUPART_URL)),
                      location.substr(0, std::min<std::size_t>(location.find('?'), 200)));
    }
  }
  void drop(CURLUPart which) { curl_url_set(url_.get(), which, nullptr, 0); }

 private:
  struct Free {
    void operator()(CURLU* url) const { curl_url_cleanup(url); }
  };
  std::unique_ptr<CURLU, Free> url_{curl_url()};
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const char* blanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}  // namespace

void request_stop() {
  stopping = true;
}
bool stop_requested() {
  return stopping;
}

std::string origin_of(const std::string& url) {
  const Url u(url);
  return fmt::format("{}://{}:{}", u.part(CURLUPART_SCHEME), lower(u.part(CURLUPART_HOST)),
                     u.part(CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

std::string shown(const std::string& url) {
  try {
    Url u(url);
    for (const CURLUPart secret : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
      u.drop(secret);
    }
    return u.part(CURLUPART_URL);
  } catch (const Error&) {
    return "(no URL)";
  }
}

/// What curl calls back into during one request.
struct HttpClient::Curl {
  struct Free {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  };
  std::unique_ptr<CURL, Free> handle{curl_easy_init()};
  std::array<char, CURL_ERROR_SIZE> message{};
  Answer answer;
  const std::function<bool(const Answer&)>* accept = nullptr;
  const Sink* sink = nullptr;
  std::optional<bool> accepted;
  bool stopped = false;       // by the sink: no error
  std::exception_ptr failed;  // in accept or sink: curl's C frames must not see it
  std::size_t header_bytes = 0;

  void begin_answer() {
    answer = {};
    header_bytes = 0;
    accepted.reset();
    stopped = false;
  }
  bool take_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > kMostHeaderBytes) return false;
    if (line.starts_with("HTTP/")) begin_answer();  // also after 100 Continue
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      answer.headers[lower(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
    }
    return true;
  }
  bool take_body(std::span<const std::byte> bytes) {
    long status = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
    answer.status = static_cast<int>(status);
    if (!answer.ok()) {
      const std::size_t room = kMostErrorBytes - std::min(kMostErrorBytes, answer.body.size());
      answer.body.append(reinterpret_cast<const char*>(bytes.data()), std::min(room, bytes.size()));
      return answer.body.size() < kMostErrorBytes;
    }
    if (!accepted) accepted = (*accept)(answer);
    if (!*accepted || !(*sink)(bytes)) stopped = true;
    return !stopped;
  }

  static std::size_t on_header(char* data, std::size_t one, std::size_t n, void* self) {
    return static_cast<Curl*>(self)->take_header({data, one * n}) ? n : 0;
  }
  static std::size_t on_body(char* data, std::size_t one, std::size_t n, void* self) {
    auto* curl = static_cast<Curl*>(self);
    try {
      return curl->take_body(std::as_bytes(std::span(data, one * n))) ? n : 0;
    } catch (...) {
      curl->failed = std::current_exception();
      return 0;
    }
  }
  static int on_progress(void* /*self*/, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return stopping ? 1 : 0; }
};

HttpClient::HttpClient(const HttpOptions& options)
    : options_(options), origin_(origin_of(options.endpoint)), curl_(std::make_unique<Curl>()) {
  SHERD_CHECK(curl_->handle != nullptr, "curl_easy_init failed");
}

HttpClient::~HttpClient() = default;

namespace {

void set_options(CURL* h, const HttpOptions& options) {
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));  // a connection per stream
  curl_easy_setopt(h, CURLOPT_USERAGENT, "sherd-fetch/0.1");
  curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(1000 * options.connect_timeout));
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(options.stall_timeout)));
  curl_easy_setopt(h, CURLOPT_MAXCONNECTS, 2L);  // the endpoint's and the one it redirects to
  if (options.endpoint.starts_with("http:")) curl_easy_setopt(h, CURLOPT_PROXY, "");  // a token is not for a proxy
  if (!options.ca_file.empty()) curl_easy_setopt(h, CURLOPT_CAINFO, options.ca_file.c_str());
}

/// What curl says, as a sentence; certificates by what is usually wrong with them on a cluster.
std::string sentence(CURLcode code, const std::string& url, const char* detail) {
  const std::string host = origin_of(url);
  if (code == CURLE_PEER_FAILED_VERIFICATION) {
    const std::time_t now = std::time(nullptr);
    std::array<char, 32> clock{};
    std::strftime(clock.data(), clock.size(), "%Y-%m-%d %H:%M", std::gmtime(&now));
    return fmt::format(
        "{}: its certificate is not trusted ({}). This machine's clock says {} UTC: if that is wrong, set it; behind a "
        "proxy that opens TLS, pass its certificate with --ca-file",
        host, detail, clock.data());
  }
  return fmt::format("{}: {} ({})", host, curl_easy_strerror(code), detail);
}

bool is_permanent(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT;
}

}  // namespace

Answer HttpClient::once(const std::string& url, const char* method, const std::string& range,
                        const std::function<bool(const Answer&)>& accept, const Sink& sink) {
  if (!url.starts_with("https://") && !url.starts_with("http://")) {
    throw bad_input("{}: only addresses that begin with https:// or http:// are fetched", shown(url));
  }
  CURL* h = curl_->handle.get();
  curl_easy_reset(h);  // keeps connections
  set_options(h, options_);
  curl_->begin_answer();
  curl_->accept = &accept;
  curl_->sink = &sink;
  curl_->failed = nullptr;
  curl_->message[0] = 0;
  struct List {
    curl_slist* head = nullptr;
    void add(const std::string& line) { head = curl_slist_append(head, line.c_str()); }
    ~List() { curl_slist_free_all(head); }
  } headers;
  headers.add("Accept-Encoding: identity");
  if (!options_.token.empty() && origin_of(url) == origin_) headers.add("Authorization: Bearer " + options_.token);
  curl_easy_setopt(h, CURLOPT_URL, url.c_str());
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.head);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, curl_->message.data());
  if (std::string_view(method) == "HEAD") curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
  if (!range.empty()) curl_easy_setopt(h, CURLOPT_RANGE, range.c_str());
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, &Curl::on_header);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, curl_.get());
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, &Curl::on_body);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, curl_.get());
  curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, &Curl::on_progress);
  const CURLcode code = curl_easy_perform(h);
  if (curl_->failed) std::rethrow_exception(curl_->failed);
  if (stopping) throw Interrupted("stopped");
  const std::string detail = curl_->message[0] != 0 ? curl_->message.data() : "no detail";
  if (is_permanent(code)) throw comm_error("{}", sentence(code, url, detail.c_str()));
  long status = 0;
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
  curl_->answer.status = static_cast<int>(status);
  curl_->answer.url = url;
  const bool cut_by_us = curl_->stopped || (!curl_->answer.ok() && curl_->answer.body.size() >= kMostErrorBytes);
  if (code != CURLE_OK && !cut_by_us) throw Interrupted(sentence(code, url, detail.c_str()));
  return curl_->answer;
}

Answer HttpClient::follow(std::string url, const char* method, const std::string& range, bool leave_endpoint,
                          const std::function<bool(const Answer&)>& accept, const Sink& sink) {
  for (int redirects = 0; redirects <= kMostRedirects; ++redirects) {
    Answer answer = once(url, method, range, accept, sink);
    if (!answer.redirect()) return answer;
    accept(answer);  // it says what the content will be
    Url next(url);
    next.follow(answer.header("location"));
    const std::string target = next.part(CURLUPART_URL);
    if (!leave_endpoint && origin_of(target) != origin_of(url)) return answer;
    if (origin_of(url).starts_with("https:") && !origin_of(target).starts_with("https:")) {
      throw bad_input("{} redirects to {}, which is not encrypted; refused", shown(url), shown(target));
    }
    url = target;
  }
  throw bad_input("{}: more than {} redirects", shown(url), kMostRedirects);
}

Answer HttpClient::with_retries(const std::string& url, const std::function<Answer()>& attempt) {
  Retry retry(options_, url);
  for (;;) {
    try {
      Answer answer = attempt();
      if (!is_temporary(answer.status)) return answer;
      retry.wait(fmt::format("HTTP {}", answer.status), asked_wait(answer));
    } catch (const Interrupted& e) {
      retry.wait(e.reason);
    }
  }
}

Answer HttpClient::get(const std::string& url, std::int64_t limit) {
  return with_retries(url, [&] {
    std::string body;
    const auto accept = [](const Answer&) { return true; };
    const auto sink = [&](std::span<const std::byte> bytes) {
      body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (static_cast<std::int64_t>(body.size()) > limit) {
        throw bad_input("{}: an answer of more than {} bytes", shown(url), limit);
      }
      return true;
    };
    Answer answer = follow(url, "GET", "", true, accept, sink);
    if (answer.ok()) answer.body = std::move(body);
    return answer;
  });
}

Answer HttpClient::head(const std::string& url) {
  const auto accept = [](const Answer&) { return true; };
  const auto sink = [](std::span<const std::byte>) { return true; };
  return with_retries(url, [&] { return follow(url, "HEAD", "", false, accept, sink); });
}

Answer HttpClient::get_range(const std::string& url, std::int64_t first, std::int64_t last,
                             const std::function<bool(const Answer&)>& accept, const Sink& sink) {
  return follow(url, "GET", fmt::format("{}-{}", first, last), true, accept, sink);
}

}  // namespace sherd::fetch
