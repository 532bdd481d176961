#include "job.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::fetch {

namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;

}  // namespace

FileDigests::FileDigests(const RemoteFile& file) : file_(file), sha256_(Digest::sha256()) {
  if (!file.git_sha1.empty()) git_.emplace(Digest::git_blob(file.size));
}

void FileDigests::update(std::span<const std::byte> bytes) {
  sha256_.update(bytes);
  if (git_) git_->update(bytes);
}

std::string FileDigests::finish() {
  sha256_hex_ = sha256_.finish();
  const std::string found = git_ ? git_->finish() : sha256_hex_;
  const std::string& expected = git_ ? file_.git_sha1 : file_.sha256;
  return expected.empty() || found == expected ? "" : found;
}

bool is_in_place(const std::filesystem::path& path, const RemoteFile& file, std::string& sha256) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return false;
  if (S_ISDIR(status.st_mode)) throw bad_input("{}: a directory is in the way; remove it", path.string());
  if (!S_ISREG(status.st_mode) || status.st_size != file.size) return false;
  const File there = File::open_read(path);
  FileDigests digests(file);
  std::vector<std::byte> block(kBlock);
  for (std::int64_t at = 0; at < file.size; at += static_cast<std::int64_t>(kBlock)) {
    if (stop_requested()) throw Interrupted("stopped");
    const auto part = std::span(block).first(
        static_cast<std::size_t>(std::min<std::int64_t>(file.size - at, static_cast<std::int64_t>(kBlock))));
    there.pread_all(part, at);
    digests.update(part);
  }
  const bool right = digests.finish().empty();
  sha256 = digests.sha256();
  if (!right) log::warn("{}: is there, with another content than the server's; it is fetched again", path.string());
  return right;
}

std::optional<std::vector<std::byte>> ChunkBuffers::take(const std::function<bool()>& unless) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !free_.empty() || left_ > 0 || closed_ || unless(); });
  if (closed_) return std::nullopt;
  std::vector<std::byte> buffer;
  if (!free_.empty()) {
    buffer = std::move(free_.back());
    free_.pop_back();
  } else if (left_-- <= 0) {
    ++left_;
    return std::nullopt;
  }
  return buffer;
}

void ChunkBuffers::give(std::vector<std::byte> buffer) {
  buffer.clear();
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(buffer));
  }
  changed_.notify_all();
}

void ChunkBuffers::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void ChunkBuffers::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

Fetcher::Job::Job(RemoteFile what, Partial from, std::int64_t chunk_size, ChunkBuffers& memory)
    : file(std::move(what)), chunk_bytes(chunk_size), partial(std::move(from)), buffers(memory) {
  there.assign(static_cast<std::size_t>(partial.chunks()), 0);
  for (std::int64_t c = partial.chunks(); c-- > 0;) {
    there[static_cast<std::size_t>(c)] = partial.done(c) ? 1 : 0;
    if (!partial.done(c)) unasked.push_back(c);
  }
  missing = static_cast<std::int64_t>(unasked.size());
  if (partial.chunks() > 1) hasher = std::thread([this] { hash(); });
}

Fetcher::Job::~Job() {
  {
    const std::lock_guard lock(hash_mutex);
    abandoned = true;
  }
  arrived.notify_all();
  if (hasher.joinable()) hasher.join();
}

void Fetcher::Job::hash() noexcept {
  try {
    hash_chunks();
  } catch (...) {
    failed = std::current_exception();
  }
  starved = true;
  buffers.wake();
}

void Fetcher::Job::arrive(std::int64_t chunk, std::vector<std::byte> bytes) {
  const std::lock_guard lock(hash_mutex);
  there[static_cast<std::size_t>(chunk)] = 1;
  if (!bytes.empty()) in_memory.emplace(chunk, std::move(bytes));
  arrived.notify_all();
}

void Fetcher::Job::hash_chunks() {
  FileDigests digests(file);
  std::vector<std::byte> block;
  for (std::int64_t chunk = 0; chunk < partial.chunks(); ++chunk) {
    hashing = chunk;
    std::vector<std::byte> bytes;
    {
      std::unique_lock lock(hash_mutex);
      const auto is_there = [&] { return abandoned || there[static_cast<std::size_t>(chunk)] != 0; };
      if (!is_there()) {
        starved = true;
        buffers.wake();
        arrived.wait(lock, is_there);
        starved = false;
      }
      if (abandoned) return;
      if (auto node = in_memory.extract(chunk)) bytes = std::move(node.mapped());
    }
    if (!bytes.empty()) {
      digests.update(bytes);
      buffers.give(std::move(bytes));
      continue;
    }
    block.resize(kBlock);
    for (std::int64_t at = first(chunk); at < end(chunk);) {
      const auto part = std::span(block).first(
          static_cast<std::size_t>(std::min<std::int64_t>(end(chunk) - at, static_cast<std::int64_t>(kBlock))));
      if (stop_requested()) throw Interrupted("stopped");
      partial.read(part, at);
      digests.update(part);
      at += static_cast<std::int64_t>(part.size());
    }
  }
  wrong = digests.finish();
  sha256 = digests.sha256();
}

void Fetcher::Job::restart() {
  second_try = true;
  in_one_stream = false;
  redirected.clear();
  partial.restart();
  unasked.clear();
  for (std::int64_t c = partial.chunks(); c-- > 0;) unasked.push_back(c);
  missing = partial.chunks();
  std::fill(there.begin(), there.end(), 0);
  in_memory.clear();
  hashing = 0;
  starved = true;
  if (partial.chunks() > 1) hasher = std::thread([this] { hash(); });
}

}  // namespace sherd::fetch
