#include "fetcher.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <thread>

#include "job.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::fetch {

Fetcher::Fetcher(const HttpOptions& http, FetchOptions options, const Listing& listing, const Store& store,
                 Progress& progress)
    : http_(http), options_(options), listing_(listing), store_(store), progress_(progress) {
  SHERD_CHECK(options.connections > 0 && options.chunk_bytes > 0, "{} connections, chunks of {}", options.connections,
              options.chunk_bytes);
}

Fetcher::~Fetcher() = default;

namespace {

std::int64_t saturating_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::int64_t>::max() : sum;
}

}  // namespace

std::vector<Fetched> Fetcher::run(const std::vector<RemoteFile>& files) {
  for (const RemoteFile& file : files) {
    std::error_code error;  // what a killed fetch left of a file that is in place now
    if (std::filesystem::is_regular_file(store_.content_path(file), error)) in_place_.insert(file.etag());
  }
  remove_ended(store_.partials(), in_place_);
  check_space(files);
  waiting_.assign(files.rbegin(), files.rend());
  std::vector<std::thread> threads;
  for (int i = 0; i < options_.connections; ++i) threads.emplace_back([this] { work(); });
  for (std::thread& t : threads) t.join();
  open_.clear();
  if (error_) std::rethrow_exception(error_);
  std::sort(fetched_.begin(), fetched_.end(),
            [](const Fetched& a, const Fetched& b) { return a.file.path < b.file.path; });
  return std::move(fetched_);
}

void Fetcher::check_space(const std::vector<RemoteFile>& files) const {
  const std::map<std::string, std::int64_t> begun = bytes_begun(store_.partials());
  std::int64_t needed = 0, bytes = 0;
  for (const RemoteFile& file : files) {
    bytes = saturating_add(bytes, file.size);
    std::error_code error;
    const std::uintmax_t there = std::filesystem::file_size(store_.content_path(file), error);
    if (!error && there == static_cast<std::uintmax_t>(file.size)) continue;
    const auto kept = begun.find(file.etag());
    needed = saturating_add(needed, file.size - std::min(file.size, kept == begun.end() ? 0 : kept->second));
  }
  progress_.expect(static_cast<std::int64_t>(files.size()), bytes);
  const std::int64_t left = free_bytes(store_.directory());
  if (needed > left) {
    throw does_not_fit("{}: {} free, {} needed for what is not there yet; free some space or choose another place",
                       store_.directory().string(), bytes_text(static_cast<double>(left)),
                       bytes_text(static_cast<double>(needed)));
  }
}

void Fetcher::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  request_stop();
  changed_.notify_all();
}

void Fetcher::work() {
  try {
    HttpClient http(http_);
    while (const std::optional<Piece> piece = take()) fetch(http, *piece);
  } catch (...) {
    fail(std::current_exception());
  }
}

/// The next chunk to fetch: of an open file, or of one that is opened now. None when all have been asked for.
std::optional<Fetcher::Piece> Fetcher::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) return std::nullopt;
    for (const std::unique_ptr<Job>& job : open_) {
      if (job->unasked.empty()) continue;
      const Piece piece{job.get(), job->unasked.back()};
      job->unasked.pop_back();
      return piece;
    }
    if (open_next(lock)) continue;
    if (waiting_.empty() && opening_ == 0 && open_.empty()) return std::nullopt;
    changed_.wait(lock);  // another connection opens a file, or finds that one must be fetched again
  }
}

/// False if no file waits. The lock is given up while the file is looked at.
bool Fetcher::open_next(std::unique_lock<std::mutex>& lock) {
  if (waiting_.empty()) return false;
  const RemoteFile file = std::move(waiting_.back());
  waiting_.pop_back();
  ++opening_;
  lock.unlock();
  std::unique_ptr<Job> job = open(file);
  const bool whole = job && job->missing == 0;  // an earlier start fetched all of it, and did not come to its end
  Job* opened = job.get();
  lock.lock();
  if (job) open_.push_back(std::move(job));
  --opening_;
  changed_.notify_all();
  if (whole) {
    lock.unlock();
    finish(*opened);
    lock.lock();
  }
  return true;
}

/// Null if the file is in place already.
std::unique_ptr<Fetcher::Job> Fetcher::open(const RemoteFile& file) {
  store_.prepare(file);
  const std::filesystem::path place = store_.content_path(file);
  std::string sha256;
  Progress::File& shown = progress_.begin(file.path, file.size);
  if (!file.etag().empty() && is_in_place(place, file, sha256)) {
    store_.publish(file);
    progress_.end(shown, file.etag(), true);
    const std::lock_guard lock(mutex_);
    fetched_.push_back({file, sha256});
    return nullptr;
  }
  Partial partial = file.etag().empty()  // nothing would say that both parts are of one file: it is begun anew
                        ? Partial::begin(store_.partials(), "unknown", file.size, options_.chunk_bytes)
                        : Partial::open(store_.partials(), file.etag(), file.size, options_.chunk_bytes);
  auto job = std::make_unique<Job>(file, std::move(partial), options_.chunk_bytes);
  job->shown = &shown;
  progress_.resumed(shown, std::min(file.size, job->partial.chunks_done() * options_.chunk_bytes));
  return job;
}

/// Refuses what is not the file that was listed. True: `answer` holds the range from `first`.
bool Fetcher::acceptable(const Answer& answer, const Job& job, std::int64_t first) const {
  if (answer.redirect()) {
    check_identity(answer, listing_, job.file);
    return true;
  }
  check_identity(answer, listing_, job.file);
  const std::string range = answer.header("content-range"), length = answer.header("content-length");
  const std::string etag = answer.header("etag");
  if (!job.file.validator.empty() && answer.ok() && !etag.empty() && etag != job.file.validator) {
    throw bad_input("{}: the server's file has changed meanwhile (ETag); start again", job.file.path);
  }
  if (answer.status == 206) {
    const std::string expected = fmt::format("bytes {}-", first), total = fmt::format("/{}", job.file.size);
    if (!range.starts_with(expected) || !range.ends_with(total)) {
      throw bad_input("{}: the server sends '{}' of {} listed bytes; its file has changed, or it is not the Hub's",
                      job.file.path, range, job.file.size);
    }
    return true;
  }
  if (answer.header("content-type").starts_with("text/html") && !job.file.path.ends_with(".html")) {
    throw bad_input(
        "{}: {} sends a web page where the file was expected: a captive portal or a proxy? Open it in a "
        "browser on this machine",
        job.file.path, shown(answer.url));
  }
  if (!length.empty() && length != std::to_string(job.file.size)) {
    throw bad_input("{}: the server sends {} bytes, {} were listed; start again", job.file.path, length, job.file.size);
  }
  return true;
}

void Fetcher::fetch(HttpClient& http, Piece piece) {
  Retry retry(http_, piece.job->file.url);
  for (std::int64_t at = piece.job->first(piece.chunk); at < piece.job->end(piece.chunk);) {
    const std::int64_t before = at;
    std::string reason = "the connection ended early";
    double asked = 0;
    try {
      fetch_some(http, piece, at, reason, asked);
    } catch (const Interrupted& e) {
      reason = e.reason;
    }
    if (at > before) {
      retry.progressed();
    } else {
      const std::lock_guard lock(mutex_);
      piece.job->redirected.clear();  // that address may be dead
    }
    if (at < piece.job->end(piece.chunk)) retry.wait(reason, asked);
  }
  chunk_done(piece);
}

/// From `at` on, as far as it comes; else why it did not.
void Fetcher::fetch_some(HttpClient& http, Piece piece, std::int64_t& at, std::string& reason, double& asked) {
  Job& job = *piece.job;
  const std::int64_t end = job.end(piece.chunk);
  std::string url;
  {
    const std::lock_guard lock(mutex_);
    url = job.redirected.empty() ? job.file.url : job.redirected;
  }
  std::int64_t skip = 0;  // of a server that knows no ranges
  const auto accept = [&](const Answer& answer) {
    skip = answer.status == 200 ? at : 0;
    return acceptable(answer, job, at);
  };
  const auto sink = [&](std::span<const std::byte> bytes) {
    const auto skipped = std::min<std::int64_t>(skip, std::ssize(bytes));
    skip -= skipped;
    const auto take = std::min<std::int64_t>(end - at, std::ssize(bytes) - skipped);
    job.partial.write(bytes.subspan(static_cast<std::size_t>(skipped), static_cast<std::size_t>(take)), at);
    at += take;
    progress_.received(*job.shown, take);
    return at < end;
  };
  const Answer answer = http.get_range(url, at, end - 1, accept, sink);
  const std::lock_guard lock(mutex_);
  if (answer.ok()) {
    if (origin_of(answer.url) != origin_of(job.file.url)) job.redirected = answer.url;
  } else if (origin_of(answer.url) != origin_of(job.file.url) && !is_temporary(answer.status) && answer.status != 416) {
    job.redirected.clear();
    reason = fmt::format("HTTP {}: the signed address has expired", answer.status);
    asked = 0.01;
  } else if (is_temporary(answer.status)) {
    reason = fmt::format("HTTP {}", answer.status);
    asked = asked_wait(answer);
  } else if (answer.status == 416) {
    throw bad_input("{}: the server's file is shorter than the {} bytes it listed", job.file.path, job.file.size);
  } else {
    refused(answer, fmt::format("{} of {}", job.file.path, listing_.repo.id), !http_.token.empty());
  }
}

void Fetcher::chunk_done(Piece piece) {
  Job& job = *piece.job;
  {
    const std::lock_guard lock(job.hash_mutex);
    job.there[static_cast<std::size_t>(piece.chunk)] = 1;
    job.arrived.notify_all();
  }
  bool whole = false;
  {
    const std::lock_guard lock(mutex_);
    job.partial.set_done(piece.chunk);
    whole = --job.missing == 0;  // unless this was the last one, another connection may finish the job from here on
  }
  if (whole) finish(job);
}

/// All chunks are there.
void Fetcher::finish(Job& job) {
  if (job.hasher.joinable())
    job.hasher.join();
  else
    job.hash();
  if (job.failed) std::rethrow_exception(job.failed);
  const std::string expected = job.file.etag();
  if (job.wrong.empty()) {
    job.partial.commit(store_.content_path(job.file));
    store_.publish(job.file);
    progress_.end(*job.shown, expected.empty() ? job.sha256 : expected, false);
    const std::lock_guard lock(mutex_);
    fetched_.push_back({job.file, job.sha256});
    open_.remove_if([&](const std::unique_ptr<Job>& j) { return j.get() == &job; });
    changed_.notify_all();
    return;
  }
  if (job.second_try || job.partial.chunks() == 0) {
    job.partial.discard();
    throw bad_input(
        "{}: arrived twice with digest {}, {} was listed; the server or something on the way changes it. "
        "Nothing of it was kept",
        job.file.path, job.wrong, expected);
  }
  log::warn("{}: arrived with digest {}, {} was listed; fetching it again", job.file.path, job.wrong, expected);
  progress_.lost(*job.shown, job.file.size);
  const std::lock_guard lock(mutex_);
  job.restart();
  changed_.notify_all();
}

}  // namespace sherd::fetch
