#include "chess/byte_source.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

class DescriptorSource : public ByteSource {
 public:
  explicit DescriptorSource(const std::string& path)
      : name_(path == "-" ? "standard input" : path), owned_(path != "-") {
    if (!owned_) return;
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw bad_input("{}: cannot open: {}", path, std::strerror(errno));
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  DescriptorSource(const DescriptorSource&) = delete;
  DescriptorSource& operator=(const DescriptorSource&) = delete;
  ~DescriptorSource() override {
    if (owned_ && fd_ >= 0) ::close(fd_);
  }

  const std::string& name() const { return name_; }

  /// The first bytes, which read() gives again; fewer where the source has fewer.
  std::string_view peek(std::size_t count) {
    std::string first(count, '\0');
    std::size_t got = 0;
    while (got < count) {
      const std::size_t n = read(std::span(first).subspan(got));
      if (n == 0) break;
      got += n;
    }
    first.resize(got);
    peeked_ = std::move(first);
    return peeked_;
  }

  std::size_t read(std::span<char> out) override {
    if (!peeked_.empty()) {
      const std::size_t n = std::min(peeked_.size(), out.size());
      std::copy_n(peeked_.begin(), n, out.begin());
      peeked_.erase(0, n);
      return n;
    }
    ssize_t n = -1;
    do n = ::read(fd_, out.data(), out.size());
    while (n < 0 && errno == EINTR);
    if (n < 0) throw bad_input("{}: cannot read: {}", name_, std::strerror(errno));
    return static_cast<std::size_t>(n);
  }

 private:
  std::string name_;
  bool owned_;
  int fd_ = STDIN_FILENO;
  std::string peeked_;
};

/// A frame's magic number, or that of a skippable frame, with which files from pzstd begin (RFC 8878, 3.1).
bool is_zstd(std::string_view first) {
  if (first.size() < 4) return false;
  std::array<unsigned char, 4> b{};
  std::memcpy(b.data(), first.data(), 4);
  const bool frame = b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
  const bool skippable = (b[0] & 0xf0) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18;
  return frame || skippable;
}

}  // namespace

std::unique_ptr<ByteSource> open_source(const std::string& path) {
  auto source = std::make_unique<DescriptorSource>(path);
  const std::string name = source->name();
  if (!is_zstd(source->peek(4))) return source;
  return zstd_source(std::move(source), name);
}

}  // namespace sherd::chess
