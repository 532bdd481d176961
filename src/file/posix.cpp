#include "sherd/file/posix.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd {
namespace {

constexpr std::size_t kLargestCall = std::size_t{1} << 30;  // Linux moves at most 2 GiB per call

Error io_error(const std::filesystem::path& path, const char* doing, int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return does_not_fit("{}: {}: {}; free some space or choose another directory", path.string(), doing,
                        std::strerror(error));
  }
  return bad_input("{}: {}: {}", path.string(), doing, std::strerror(error));
}

int open_or_throw(const std::filesystem::path& path, int flags, const char* doing) {
  int fd = -1;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) throw io_error(path, doing, errno);
  return fd;
}

}  // namespace

File File::open_read(const std::filesystem::path& path) {
  File file(open_or_throw(path, O_RDONLY | O_NONBLOCK, "cannot open"), path);  // a pipe must not make open() wait
  struct stat st {};
  if (::fstat(file.fd_, &st) != 0) throw io_error(path, "cannot stat", errno);
  if (!S_ISREG(st.st_mode)) throw bad_input("{}: not a regular file", path.string());
  return file;
}

File File::open_update(const std::filesystem::path& path) {
  File file(open_or_throw(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW, "cannot open"), path);
  struct stat st {};
  if (::fstat(file.fd_, &st) != 0) throw io_error(path, "cannot stat", errno);
  if (!S_ISREG(st.st_mode)) throw bad_input("{}: not a regular file", path.string());
  return file;
}

File File::create(const std::filesystem::path& path) {
  return {open_or_throw(path, O_RDWR | O_CREAT | O_TRUNC, "cannot create"), path};
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0 && ::close(fd_) != 0) log::warn("{}: close: {}", path_.string(), std::strerror(errno));
}

std::int64_t File::size() const {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) throw io_error(path_, "cannot stat", errno);
  return st.st_size;
}

void File::pread_all(std::span<std::byte> out, std::int64_t offset) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), std::min(out.size(), kLargestCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw io_error(path_, "cannot read", errno);
    if (n == 0) {
      throw bad_input("{}: ends at byte {}, {} more were expected: the file is truncated; fetch or write it again",
                      path_.string(), offset, out.size());
    }
    out = out.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
}

void File::pwrite_all(std::span<const std::byte> data, std::int64_t offset) const {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd_, data.data(), std::min(data.size(), kLargestCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw io_error(path_, "cannot write", n < 0 ? errno : ENOSPC);
    data = data.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
}

void File::pwrite_all(std::string_view text, std::int64_t offset) const {
  pwrite_all(std::as_bytes(std::span(text.data(), text.size())), offset);
}

void File::fsync() const {
  if (::fsync(fd_) != 0) throw io_error(path_, "cannot fsync", errno);
}

void File::close() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0 && ::close(fd) != 0) throw io_error(path_, "cannot close", errno);
}

void File::advise_sequential() const {
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
}
void File::drop_cache(std::int64_t offset, std::int64_t length) const {
  ::posix_fadvise(fd_, offset, length, POSIX_FADV_DONTNEED);
}

std::string read_text(const std::filesystem::path& path, std::int64_t limit) {
  const File file = File::open_read(path);
  const std::int64_t size = file.size();
  if (size > limit) throw bad_input("{}: {} bytes; at most {} are read of such a file", path.string(), size, limit);
  std::string text(static_cast<std::size_t>(size), '\0');
  file.pread_all(std::as_writable_bytes(std::span(text.data(), text.size())), 0);
  return text;
}

void fsync_file(const std::filesystem::path& path) {
  File::open_read(path).fsync();
}

void fsync_directory(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.empty() ? std::filesystem::path(".") : path;
  const int fd = open_or_throw(directory, O_RDONLY | O_DIRECTORY, "cannot open the directory");
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  const bool unsupported = error == EINVAL || error == ENOTSUP;  // some network file systems: renames are durable there
  if (error != 0 && !unsupported) throw io_error(directory, "cannot fsync the directory", error);
}

void fsync_directory_and_files(const std::filesystem::path& path) {
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(path)) {
    if (entry.is_regular_file()) fsync_file(entry.path());
  }
  fsync_directory(path);
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int error = errno;
    throw bad_input("{}: cannot rename to {}: {}", from.string(), to.string(), std::strerror(error));
  }
  fsync_directory(to.parent_path());
}

}  // namespace sherd
