#include "archive.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/file/digest.hpp"
#include "sherd/file/lock.hpp"
#include "sherd/file/posix.hpp"
#include "store.hpp"

namespace sherd::fetch {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kRecord = 512, kBlock = 1 << 20, kLockLimit = 64 << 20;

/// A header of the archive, field by field (POSIX.1-1988, ustar).
struct Header {
  std::array<char, 100> name{};
  std::array<char, 8> mode{}, uid{}, gid{};
  std::array<char, 12> size{}, mtime{};
  std::array<char, 8> checksum{};
  char type = '0';
  std::array<char, 100> linked{};
  std::array<char, 8> magic{};
  std::array<char, 32> user{}, group{};
  std::array<char, 8> major{}, minor{};
  std::array<char, 155> prefix{};
  std::array<char, 12> rest{};
};
static_assert(sizeof(Header) == kRecord);

template <std::size_t N>
void put(std::array<char, N>& field, std::string_view text) {
  SHERD_CHECK(text.size() <= N, "'{}' in {} bytes", text, N);
  std::copy(text.begin(), text.end(), field.begin());
}

template <std::size_t N>
std::string text_of(const std::array<char, N>& field) {
  return {field.data(), ::strnlen(field.data(), N)};
}

/// The sum of all bytes, those of the checksum itself counted as blanks.
unsigned checksum_of(Header header) {
  header.checksum.fill(' ');
  const auto bytes = std::as_bytes(std::span(&header, 1));
  unsigned sum = 0;
  for (const std::byte b : bytes) sum += std::to_integer<unsigned>(b);
  return sum;
}

void put_size(Header& header, std::int64_t size) {
  if (size < std::int64_t{1} << 33) return put(header.size, fmt::format("{:011o}", size));
  header.size.fill(0);
  header.size[0] = static_cast<char>(0x80);  // base 256, big-endian
  for (std::size_t i = 0; i < 8; ++i) header.size[11 - i] = static_cast<char>(size >> (8 * i) & 0xff);
}

std::int64_t octal(const std::string& text) {
  const std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  std::int64_t value = -1;
  std::from_chars(text.data() + begin, text.data() + text.size(), value, 8);
  return value;
}

std::int64_t size_of_entry(const Header& header) {
  if ((static_cast<unsigned char>(header.size[0]) & 0x80u) == 0) return octal(text_of(header.size));
  std::uint64_t size = 0;
  for (std::size_t i = 4; i < 12; ++i) size = size << 8 | static_cast<unsigned char>(header.size[i]);
  return size > std::uint64_t{1} << 50 ? -1 : static_cast<std::int64_t>(size);
}

Header header_of(const std::string& path, std::int64_t size) {
  Header header;
  std::size_t cut = 0;
  if (path.size() > header.name.size()) {
    cut = path.find('/', path.size() - header.name.size() - 1);
    if (cut == std::string::npos || cut > header.prefix.size()) {
      throw bad_input("{}: this name is too long for a tar archive", path);
    }
    put(header.prefix, std::string_view(path).substr(0, cut));
    ++cut;
  }
  put(header.name, std::string_view(path).substr(cut));
  put(header.mode, "0000644");
  put(header.uid, "0000000");
  put(header.gid, "0000000");
  put(header.mtime, "00000000000");
  put(header.magic, std::string_view("ustar\0"
                                     "00",
                                     8));
  put_size(header, size);
  put(header.checksum, std::string_view(fmt::format("{:06o}", checksum_of(header)).c_str(), 7));
  header.checksum[7] = ' ';
  return header;
}

std::int64_t padded(std::int64_t size) {
  return (size + kRecord - 1) / kRecord * kRecord;
}

/// Copies `size` bytes and returns their SHA-256.
std::string copy(const File& from, std::int64_t from_at, const File& to, std::int64_t to_at, std::int64_t size) {
  Digest digest = Digest::sha256();
  std::vector<std::byte> block(static_cast<std::size_t>(kBlock));
  for (std::int64_t done = 0; done < size;) {
    const auto part = std::span(block).first(static_cast<std::size_t>(std::min(kBlock, size - done)));
    from.pread_all(part, from_at + done);
    digest.update(part);
    to.pwrite_all(part, to_at + done);
    done += static_cast<std::int64_t>(part.size());
  }
  return digest.finish();
}

/// The entries of an archive, one after the other.
class Entries {
 public:
  explicit Entries(const File& archive) : archive_(archive), size_(archive.size()) {}
  std::string path;
  std::int64_t data = 0, bytes = 0;

  /// False at the end.
  bool next() {
    Header header;
    if (size_ - at_ < kRecord) throw damaged("it ends without its last record");
    archive_.pread_all(std::as_writable_bytes(std::span(&header, 1)), at_);
    const auto raw = std::as_bytes(std::span(&header, 1));
    if (std::all_of(raw.begin(), raw.end(), [](std::byte b) { return b == std::byte{0}; })) return false;
    if (octal(text_of(header.checksum)) != static_cast<std::int64_t>(checksum_of(header))) {
      throw damaged("the checksum of a header does not match");
    }
    const std::string prefix = text_of(header.prefix);
    path = (prefix.empty() ? "" : prefix + "/") + text_of(header.name);
    if (header.type != '0' && header.type != '\0') throw damaged(fmt::format("'{}' is no plain file", path));
    if (!is_inside(path)) throw damaged(fmt::format("'{}' would leave its folder", path));
    bytes = size_of_entry(header);
    data = at_ + kRecord;
    if (bytes < 0 || bytes > size_ - data) throw damaged(fmt::format("'{}' is cut off", path));
    at_ = data + padded(bytes);
    return true;
  }

 private:
  Error damaged(const std::string& why) const {
    return bad_input("{}: not an archive of sherd-fetch pack, or damaged: {}; copy it again", archive_.path().string(),
                     why);
  }
  const File& archive_;
  std::int64_t size_, at_ = 0;
};

}  // namespace

void pack(const fs::path& folder, const fs::path& archive) {
  const Lock lock = load_lock(folder);
  if (fs::exists(archive)) throw bad_input("{}: exists already; remove it or choose another name", archive.string());
  AtomicFile out(archive);
  std::int64_t at = 0;
  const auto add = [&](const std::string& path, const File& from) {
    const Header header = header_of(path, from.size());
    out.file().pwrite_all(std::as_bytes(std::span(&header, 1)), at);
    const std::string sha256 = copy(from, 0, out.file(), at + kRecord, from.size());
    at += kRecord + padded(from.size());
    return sha256;
  };
  add(kLockName, File::open_read(folder / kLockName));
  for (const LockedFile& file : lock.files) {
    const File from = File::open_read(folder / file.path);
    if (from.size() != file.size || add(file.path, from) != file.sha256) {
      throw bad_input("{}: not what {} says; fetch it again, and nothing was packed", from.path().string(), kLockName);
    }
  }
  const std::array<char, 2 * kRecord> end{};
  out.file().pwrite_all(std::as_bytes(std::span(end)), at);
  out.commit();
}

void unpack(const fs::path& archive, const fs::path& folder) {
  const File in = File::open_read(archive);
  Entries entry(in);
  if (!entry.next() || entry.path != kLockName || entry.bytes > kLockLimit) {
    throw bad_input("{}: does not begin with {}; it is no archive of sherd-fetch pack", archive.string(), kLockName);
  }
  AtomicDirectory out(folder);
  copy(in, entry.data, File::create(out.work() / kLockName), 0, entry.bytes);
  std::map<std::string, LockedFile> expected;
  for (const LockedFile& file : load_lock(out.work()).files) expected.emplace(file.path, file);
  while (entry.next()) {
    const auto file = expected.find(entry.path);
    if (file == expected.end()) throw bad_input("{}: '{}' is not in its lock", archive.string(), entry.path);
    make_plain_directories(out.work(), fs::path(entry.path).parent_path());
    const File to = File::create(out.work() / entry.path);
    if (entry.bytes != file->second.size || copy(in, entry.data, to, 0, entry.bytes) != file->second.sha256) {
      throw bad_input("{}: '{}' is not what its lock says; copy the archive again", archive.string(), entry.path);
    }
    to.fsync();
    expected.erase(file);
  }
  if (!expected.empty()) throw bad_input("{}: '{}' is missing in it", archive.string(), expected.begin()->first);
  out.commit();
}

}  // namespace sherd::fetch
