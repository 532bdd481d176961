#include "fetcher.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <thread>

#include "job.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::fetch {

namespace {

constexpr int kBuffersToHash = 4;  // chunks in memory that wait for the hashing thread

}  // namespace

Fetcher::Fetcher(const HttpOptions& http, FetchOptions options, const Listing& listing, const Store& store,
                 Progress& progress)
    : http_(http),
      options_(options),
      listing_(listing),
      store_(store),
      progress_(progress),
      buffers_(std::make_unique<ChunkBuffers>(kBuffersToHash)) {
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
  buffers_->close();
}

void Fetcher::work() {
  try {
    HttpClient http(http_);
    std::vector<std::byte> buffer;  // always one of its own: who fetches the chunk that is hashed next never waits
    while (const std::optional<Piece> piece = take()) fetch(http, *piece, buffer);
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
      if (job->unasked.empty() || job->in_one_stream) continue;
      const Piece piece{job.get(), job->unasked.back()};
      job->unasked.pop_back();
      ++job->held;
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
  auto job = std::make_unique<Job>(file, std::move(partial), options_.chunk_bytes, *buffers_);
  job->shown = &shown;
  progress_.resumed(shown, std::min(file.size, job->partial.chunks_done() * options_.chunk_bytes));
  return job;
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
