// What one connection does with a piece of a file: requests, again where they bring too little, and the bytes to the
// disk.
#include <algorithm>
#include <utility>

#include "fetcher.hpp"
#include "job.hpp"
#include "sherd/base/error.hpp"

namespace sherd::fetch {

namespace {

constexpr std::size_t kWrite = std::size_t{256} << 10;  // at once: what a core's cache keeps

}  // namespace

/// Refuses what is not the file that was listed, or not its bytes from `first` on.
void Fetcher::check(const Answer& answer, const Job& job, std::int64_t first) const {
  check_identity(answer, listing_, job.file);
  if (answer.redirect()) return;
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
    return;
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
}

void Fetcher::fetch(HttpClient& http, Piece piece, std::vector<std::byte>& buffer) {
  Job& job = *piece.job;
  buffer.clear();
  Span span{job, job.first(piece.chunk), job.end(piece.chunk), false, buffer};
  if (!fetch_all(http, span)) {
    progress_.lost(*job.shown, std::ssize(buffer));  // what came of the chunk by ranges
    buffer.clear();
    Span whole{job, 0, job.file.size, true, buffer};
    if (begin_one_stream(job)) fetch_all(http, whole);
  }
  let_go(job);
}

/// False if the server knows no ranges: a chunk would cost all the bytes before it.
bool Fetcher::fetch_all(HttpClient& http, Span& span) {
  Retry retry(http_, span.job.file.url);
  for (;;) {
    const std::int64_t before = span.at;
    const Shortfall why = fetch_some(http, span);
    if (span.at == span.end) return true;
    if (why.no_ranges) return false;
    if (span.at > before) {
      retry.progressed();
    } else {
      const std::lock_guard lock(mutex_);
      span.job.redirected.clear();  // that address may be dead
    }
    retry.wait(why.reason, why.asked_seconds);
  }
}

/// True for one connection of a job, which then gets the file to itself once the others have let go of it.
bool Fetcher::begin_one_stream(Job& job) {
  std::unique_lock lock(mutex_);
  if (std::exchange(job.in_one_stream, true)) return false;
  changed_.wait(lock, [&] { return job.held == 1 || error_; });
  if (error_) throw Interrupted("stopped");
  return true;
}

/// One request: from span.at on, as far as it comes.
Fetcher::Shortfall Fetcher::fetch_some(HttpClient& http, Span& span) {
  Job& job = span.job;
  Shortfall why;
  std::string url;
  {
    const std::lock_guard lock(mutex_);
    url = job.redirected.empty() ? job.file.url : job.redirected;
  }
  std::int64_t skip = 0;
  const auto accept = [&](const Answer& answer) {
    check(answer, job, span.at);
    if (answer.ok() && answer.status != 206) {
      skip = span.at;
      why.no_ranges = !span.whole_file && job.partial.chunks() > 1;
    }
    return !why.no_ranges;
  };
  const auto sink = [&](std::span<const std::byte> bytes) {
    const auto skipped = std::min<std::int64_t>(skip, std::ssize(bytes));
    skip -= skipped;
    bytes = bytes.subspan(static_cast<std::size_t>(skipped));
    const auto wanted = static_cast<std::size_t>(std::min<std::int64_t>(span.end - span.at, std::ssize(bytes)));
    store(span, bytes.first(wanted));
    return wanted == bytes.size();  // not at the end of the span: a transfer that is stopped costs its connection
  };
  try {
    judge(http.get_range(url, span.at, span.end - 1, accept, sink), job, why);
  } catch (const Interrupted& e) {
    why.reason = e.reason;
  }
  return why;
}

/// A chunk that was there already keeps its bytes: they may have been hashed.
void Fetcher::store(Span& span, std::span<const std::byte> bytes) {
  Job& job = span.job;
  while (!bytes.empty()) {
    const std::int64_t chunk = span.at / job.chunk_bytes, end = job.end(chunk);
    const auto part = bytes.first(static_cast<std::size_t>(std::min<std::int64_t>(end - span.at, std::ssize(bytes))));
    bytes = bytes.subspan(part.size());
    span.at += std::ssize(part);
    if (job.partial.done(chunk)) continue;
    if (span.chunk.empty()) span.chunk.reserve(static_cast<std::size_t>(end - job.first(chunk)));
    span.chunk.insert(span.chunk.end(), part.begin(), part.end());
    progress_.received(*job.shown, std::ssize(part));
    if (span.at == end)
      chunk_done(span, chunk);
    else if (span.chunk.size() - span.written >= kWrite)
      write_out(span);
  }
}

/// The end of span.chunk, which stands before span.at in the file.
void Fetcher::write_out(Span& span) {
  const auto rest = std::span<const std::byte>(span.chunk).subspan(span.written);
  const std::lock_guard lock(span.job.write_mutex);
  span.job.partial.write(rest, span.at - std::ssize(rest));
  span.written = span.chunk.size();
}

void Fetcher::chunk_done(Span& span, std::int64_t chunk) {
  Job& job = span.job;
  SHERD_CHECK(std::ssize(span.chunk) == job.end(chunk) - job.first(chunk), "{} bytes of chunk {}", span.chunk.size(),
              chunk);
  write_out(span);
  {
    const std::lock_guard lock(mutex_);
    job.partial.set_done(chunk);
    --job.missing;
  }
  std::vector<std::byte> bytes;  // stays empty where there is no other buffer: the chunk is read again then
  if (chunk - job.hashing <= Job::kNear) {
    std::optional<std::vector<std::byte>> next = buffers_->take([&] { return job.starved.load(); });
    if (next) bytes = std::exchange(span.chunk, std::move(*next));
  }
  span.chunk.clear();
  span.written = 0;
  job.arrive(chunk, std::move(bytes));
}

/// What an answer that is no success means.
void Fetcher::judge(const Answer& answer, Job& job, Shortfall& why) {
  const std::lock_guard lock(mutex_);
  const bool elsewhere = origin_of(answer.url) != origin_of(job.file.url);
  if (answer.ok()) {
    if (elsewhere) job.redirected = answer.url;
  } else if (elsewhere && !is_temporary(answer.status) && answer.status != 416) {
    job.redirected.clear();
    why = {fmt::format("HTTP {}: the signed address has expired", answer.status), 0.01};
  } else if (is_temporary(answer.status)) {
    why = {fmt::format("HTTP {}", answer.status), asked_wait(answer)};
  } else if (answer.status == 416) {
    throw bad_input("{}: the server's file is shorter than the {} bytes it listed", job.file.path, job.file.size);
  } else {
    refused(answer, fmt::format("{} of {}", job.file.path, listing_.repo.id), !http_.token.empty());
  }
}

/// The last connection that holds a piece of a whole file finishes it: nobody else knows of it then.
void Fetcher::let_go(Job& job) {
  bool whole = false;
  {
    const std::lock_guard lock(mutex_);
    whole = --job.held == 0 && job.missing == 0;
    changed_.notify_all();
  }
  if (whole) finish(job);
}

}  // namespace sherd::fetch
