#pragma once
// A file that is being fetched: a directory NAME-CHUNK.SPACE.PID.START.RANDOM.partial/ beside its final place, with
//   data    the bytes so far, of the final size, with holes
//   chunks  one byte per chunk: 1 once all of the chunk was written to `data`
// Locks are not relied on (flock does nothing on some Lustre and GPFS mounts). A name belongs to one process; who finds
// the directory of a process that has ended takes it over by renaming it, which succeeds for one taker only. A
// directory of a living process, or of another machine, is left alone: then the file is fetched twice, and whoever is
// second finds the same bytes in place. One of another machine that nobody has touched for six hours is removed, not
// gone on with, for its owner may wake up. What is under the final name was hashed by the
// process that renamed it: the bytes that it wrote itself, or read again from a file that nobody else writes.
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sherd/file/posix.hpp"

namespace sherd::fetch {

class Partial {
 public:
  /// Goes on with what an ended process of this host left in `folder` for `name` with this size, or begins.
  static Partial open(const std::filesystem::path& folder, const std::string& name, std::int64_t size,
                      std::int64_t chunk_bytes);
  Partial(Partial&&) noexcept = default;
  Partial& operator=(const Partial&) = delete;

  /// Anew, whatever is there.
  static Partial begin(const std::filesystem::path& folder, const std::string& name, std::int64_t size,
                       std::int64_t chunk_bytes);

  std::int64_t chunks() const { return static_cast<std::int64_t>(done_.size()); }
  bool done(std::int64_t chunk) const { return done_[static_cast<std::size_t>(chunk)] != 0; }
  std::int64_t chunks_done() const;

  void write(std::span<const std::byte> bytes, std::int64_t offset) const { data_.pwrite_all(bytes, offset); }
  void read(std::span<std::byte> bytes, std::int64_t offset) const { data_.pread_all(bytes, offset); }
  void set_done(std::int64_t chunk);
  /// Forgets everything that has come: its digest was wrong.
  void restart();
  /// fsyncs the data, gives it its final name and removes the directory. Over a file of that name: it has the same
  /// content.
  void commit(const std::filesystem::path& final_path);
  /// Removes the directory.
  void discard();

 private:
  Partial(std::filesystem::path directory, File data, File chunks, std::vector<char> done);
  static std::optional<Partial> take_over(const std::filesystem::path& directory,
                                          const std::filesystem::path& new_directory, std::int64_t size,
                                          std::int64_t chunk_bytes);

  std::filesystem::path directory_;
  File data_, chunks_;
  std::vector<char> done_;
};

/// "SPACE.PID.START.RANDOM" of this process, SPACE being boot and process namespace; and whether the process of such a
/// name is known to have ended.
std::string owner_name();
bool has_ended(const std::string& owner);

/// What ended processes of this machine left of these names, whose files are in place.
void remove_ended(const std::filesystem::path& folder, const std::set<std::string>& names);
/// By name: bytes on the disk that a new start can go on with.
std::map<std::string, std::int64_t> bytes_begun(const std::filesystem::path& folder);

}  // namespace sherd::fetch
