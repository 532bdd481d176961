#include "algorithm_cache.hpp"

#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "sherd/base/log.hpp"

namespace sherd::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxBytes = 4 << 20;

fs::path absolute_from(const char* variable) {
  const char* value = std::getenv(variable);
  fs::path out = value == nullptr ? "" : value;
  return out.is_absolute() ? out : fs::path();
}

/// Every byte of text to fd, then to the disk.
bool write_whole(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return ::fsync(fd) == 0;
}

}  // namespace

fs::path cache_path(std::string_view kind, std::string_view device, std::string_view version) {
  fs::path folder = absolute_from("XDG_CACHE_HOME");
  if (folder.empty()) {
    folder = absolute_from("HOME");
    if (folder.empty()) return {};
    folder /= ".cache";
  }
  std::string name = fmt::format("{}-{}-{}", kind, device, version);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  return folder / "sherd" / (name + ".txt");
}

std::string read_cache(const fs::path& path) {
  std::error_code rc;
  const std::uintmax_t size = fs::file_size(path, rc);
  if (rc) return {};  // absent
  if (size > kMaxBytes) {
    log::warn("{}: {} bytes, at most {} are read; ignored, delete it", path.string(), size, kMaxBytes);
    return {};
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    log::warn("{}: not readable; what it has is searched again", path.string());
    return {};
  }
  return text;
}

void write_cache(const fs::path& path, const std::string& text) {
  if (path.empty()) return;
  std::error_code rc;
  fs::create_directories(path.parent_path(), rc);
  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkstemp(temporary.data());
  if (fd < 0) {
    log::warn("{}: {}; the next run searches again", temporary, std::strerror(errno));
    return;
  }
  const bool written = write_whole(fd, text);
  const bool closed = ::close(fd) == 0;
  if (!written || !closed || ::rename(temporary.c_str(), path.c_str()) != 0) {
    log::warn("{}: {}; the next run searches again", path.string(), std::strerror(errno));
    ::unlink(temporary.c_str());
  }
}

}  // namespace sherd::cuda
