#pragma once
// Job: one file on its way, and the thread that hashes it. Private to the fetcher.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fetcher.hpp"
#include "partial.hpp"
#include "sherd/file/digest.hpp"

namespace sherd::fetch {

/// Both digests of a file: the Hub's own, to check, and the SHA-256, for the lock file.
class FileDigests {
 public:
  explicit FileDigests(const RemoteFile& file);
  void update(std::span<const std::byte> bytes);
  /// "" if the digest is the expected one (or none is known), else what it is.
  std::string finish();
  const std::string& sha256() const { return sha256_hex_; }

 private:
  const RemoteFile& file_;
  Digest sha256_;
  std::optional<Digest> git_;
  std::string sha256_hex_;
};

/// Memory for chunks on their way to the hashing threads: without it they would be read again, at a third of the speed.
/// Thread-safe.
class ChunkBuffers {
 public:
  explicit ChunkBuffers(int most) : left_(most) {}
  /// An empty one; waits for it until `unless()`, which is asked again after every give() and wake(). None then, and
  /// after close().
  std::optional<std::vector<std::byte>> take(const std::function<bool()>& unless);
  void give(std::vector<std::byte> buffer);
  void wake();
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int left_;  // not made yet
  bool closed_ = false;
  std::vector<std::vector<std::byte>> free_;
};

struct Fetcher::Job {
  /// Chunks: more than connections and buffers hold while hashing keeps up. What is farther ahead, as after a
  /// resumption, does not occupy memory.
  static constexpr std::int64_t kNear = 32;

  Job(RemoteFile what, Partial from, std::int64_t chunk_size, ChunkBuffers& memory);
  ~Job();

  std::int64_t first(std::int64_t chunk) const { return chunk * chunk_bytes; }
  std::int64_t end(std::int64_t chunk) const { return std::min(file.size, (chunk + 1) * chunk_bytes); }
  /// Hashes chunk after chunk as they are there; in a thread of its own for a file of several. Does not throw.
  void hash() noexcept;
  void hash_chunks();
  /// To be hashed; from memory, unless `bytes` is empty.
  void arrive(std::int64_t chunk, std::vector<std::byte> bytes);
  /// Under the fetcher's lock: forgets everything that has come.
  void restart();

  const RemoteFile file;
  const std::int64_t chunk_bytes;
  Partial partial;
  ChunkBuffers& buffers;
  std::mutex write_mutex;  // the kernel's own lock on a file spins, which costs the cores that should receive
  Progress::File* shown = nullptr;
  std::vector<std::int64_t> unasked;  // chunks, from the back
  std::int64_t missing = 0;           // chunks that are not there yet
  int held = 0;                       // connections that have a piece of it; the last to let go of it finishes it
  bool in_one_stream = false;         // the server knows no ranges: one connection fetches all that is missing
  std::string redirected;             // where the endpoint sent us: valid for a while
  bool second_try = false;            // the first digest was wrong

  std::mutex hash_mutex;
  std::condition_variable arrived;
  std::vector<char> there;  // of the hashing thread: as partial.done, under hash_mutex
  std::map<std::int64_t, std::vector<std::byte>> in_memory;
  std::atomic<std::int64_t> hashing{0};  // the chunk it is at
  std::atomic<bool> starved{true};       // which is not there: to wait for a buffer would be in vain
  bool abandoned = false;
  std::string wrong, sha256;  // the result
  std::exception_ptr failed;  // or why there is none
  std::thread hasher;
};

}  // namespace sherd::fetch
