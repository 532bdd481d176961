#pragma once
// Fetcher: several connections, each a thread with its own HttpClient, take chunks of the files one after the other. A
// file of several chunks has a thread that hashes its contiguous prefix while the rest arrives; a resumed one is hashed
// again from its beginning. A file gets its final name after its digest was right.
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "http.hpp"
#include "hub.hpp"
#include "progress.hpp"
#include "store.hpp"

namespace sherd::fetch {

class ChunkBuffers;

struct FetchOptions {
  int connections = 6;
  std::int64_t chunk_bytes = std::int64_t{4} << 20;
};

/// The SHA-256 of a file that is in place, for the lock file.
struct Fetched {
  RemoteFile file;
  std::string sha256;
};

class Fetcher {
 public:
  Fetcher(const HttpOptions& http, FetchOptions options, const Listing& listing, const Store& store,
          Progress& progress);
  ~Fetcher();

  /// All of `files`, in place and hashed; sorted by path. Errors of any connection end all of them; what has come is
  /// kept. does_not_fit when the disk is too small, before anything is asked for.
  std::vector<Fetched> run(const std::vector<RemoteFile>& files);

 private:
  struct Job;
  struct Piece {
    Job* job = nullptr;
    std::int64_t chunk = 0;
  };

  void work();
  std::optional<Piece> take();
  bool open_next(std::unique_lock<std::mutex>& lock);
  std::unique_ptr<Job> open(const RemoteFile& file);
  /// Bytes [at, end) of a file that one connection is getting: a chunk, or all of it in one stream.
  struct Span {
    Job& job;
    std::int64_t at, end;
    bool whole_file;
    std::vector<std::byte>& chunk;  // the bytes so far of the chunk that `at` is in
    std::size_t written = 0;        // of them, to the disk
  };
  /// Why a request brought less than was asked for, and how long the server wants us to wait.
  struct Shortfall {
    std::string reason = "the connection ended early";
    double asked_seconds = 0;
    bool no_ranges = false;
  };

  void fetch(HttpClient& http, Piece piece, std::vector<std::byte>& buffer);
  bool fetch_all(HttpClient& http, Span& span);
  bool begin_one_stream(Job& job);
  Shortfall fetch_some(HttpClient& http, Span& span);
  void judge(const Answer& answer, Job& job, Shortfall& why);
  void check(const Answer& answer, const Job& job, std::int64_t first) const;
  void store(Span& span, std::span<const std::byte> bytes);
  void write_out(Span& span);
  void chunk_done(Span& span, std::int64_t chunk);
  void let_go(Job& job);
  void finish(Job& job);
  void fail(std::exception_ptr error);
  void check_space(const std::vector<RemoteFile>& files) const;

  const HttpOptions http_;
  const FetchOptions options_;
  const Listing& listing_;
  const Store& store_;
  Progress& progress_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RemoteFile> waiting_;  // from the back
  std::unique_ptr<ChunkBuffers> buffers_;
  std::list<std::unique_ptr<Job>> open_;
  int opening_ = 0;
  std::vector<Fetched> fetched_;
  std::set<std::string> in_place_;  // etags
  std::exception_ptr error_;
};

/// True if a regular file of this size and digest is there; `sha256` is then its SHA-256.
bool is_in_place(const std::filesystem::path& path, const RemoteFile& file, std::string& sha256);

}  // namespace sherd::fetch
