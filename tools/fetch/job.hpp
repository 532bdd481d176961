#pragma once
// Job: one file on its way, and the thread that hashes it. Private to the fetcher.
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

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

struct Fetcher::Job {
  Job(RemoteFile what, Partial from, std::int64_t chunk_size);
  ~Job();

  std::int64_t first(std::int64_t chunk) const { return chunk * chunk_bytes; }
  std::int64_t end(std::int64_t chunk) const { return std::min(file.size, (chunk + 1) * chunk_bytes); }
  /// Hashes chunk after chunk as they are there; in a thread of its own for a file of several. Does not throw.
  void hash() noexcept;
  void hash_chunks();
  /// Under the fetcher's lock: forgets everything that has come.
  void restart();

  const RemoteFile file;
  const std::int64_t chunk_bytes;
  Partial partial;
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
  bool abandoned = false;
  std::string wrong, sha256;  // the result
  std::exception_ptr failed;  // or why there is none
  std::thread hasher;
};

}  // namespace sherd::fetch
