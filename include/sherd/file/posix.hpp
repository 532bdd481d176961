#pragma once
// Files by descriptor: positioned reads and writes that are whole or an Error, and commits that survive a crash (write
// under a temporary name, fsync, rename, fsync the parent). pread, not mmap: a mapping of a file that shrinks, or lies
// on a network file system that fails, kills the process with SIGBUS.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sherd {

class File {
 public:
  /// A regular file (links are followed); bad_input naming the path otherwise.
  static File open_read(const std::filesystem::path& path);
  /// An existing regular file for reading and writing. A link in its place is not followed: bad_input.
  static File open_update(const std::filesystem::path& path);
  /// A new, empty file for reading and writing; what was there is lost.
  static File create(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  int fd() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const;

  /// All of `out` from byte `offset`; bad_input if the file ends before.
  void pread_all(std::span<std::byte> out, std::int64_t offset) const;
  /// All of `data` at byte `offset`; does_not_fit if the disk or a quota is full.
  void pwrite_all(std::span<const std::byte> data, std::int64_t offset) const;
  void pwrite_all(std::string_view text, std::int64_t offset) const;
  void fsync() const;
  /// Closes and reports what a late write error says (network file systems tell only here).
  void close();

  /// Hints to the page cache; failures do not matter. length 0: to the end.
  void advise_sequential() const;
  void drop_cache(std::int64_t offset = 0, std::int64_t length = 0) const;

 private:
  File(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::filesystem::path path_;
};

/// The whole of a small file; bad_input if it is missing or larger than `limit` bytes.
std::string read_text(const std::filesystem::path& path, std::int64_t limit);

void fsync_file(const std::filesystem::path& path);
/// Makes the names in a directory durable (a rename is lost in a crash before this).
void fsync_directory(const std::filesystem::path& path);
/// fsyncs every regular file directly in the directory, then the directory: what comes before its rename.
void fsync_directory_and_files(const std::filesystem::path& path);
/// Renames over what is there, on one file system, and fsyncs the directory that holds `to`.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// "NAME.tmp-1f0c93ab": beside NAME, so that the rename stays on one file system; random, so that two writers never
/// meet.
std::filesystem::path temporary_name(const std::filesystem::path& path);
/// True for the names that temporary_name makes.
bool is_temporary_name(const std::filesystem::path& path);

/// A file that appears whole or not at all.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(AtomicFile&&) noexcept = default;
  ~AtomicFile();  // removes the temporary file unless committed
  const File& file() const { return file_; }
  void commit();

 private:
  std::filesystem::path path_;
  File file_;
  bool committed_ = false;
};

/// A small file that appears under its name whole and on disk, or not at all.
void write_text(const std::filesystem::path& path, std::string_view text);

/// A directory that appears whole or not at all; its files are written into work().
class AtomicDirectory {
 public:
  explicit AtomicDirectory(std::filesystem::path path);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory();  // removes the temporary directory unless committed
  const std::filesystem::path& work() const { return work_; }
  /// fsyncs every file and the directory, then renames; bad_input if the name has been taken meanwhile.
  void commit();

 private:
  std::filesystem::path path_, work_;
  bool committed_ = false;
};

}  // namespace sherd
