// Commits: a name appears only when everything behind it is on the disk.
#include <sys/random.h>

#include <system_error>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMark = ".tmp-";
constexpr std::size_t kTokenDigits = 8;

fs::path made_directory(fs::path path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw bad_input("{}: cannot create the directory: {}", path.string(), error.message());
  return path;
}

}  // namespace

fs::path temporary_name(const fs::path& path) {
  std::uint32_t token = 0;
  SHERD_CHECK(::getrandom(&token, sizeof token, 0) == sizeof token, "getrandom failed");
  fs::path name = path;
  return name += fmt::format("{}{:08x}", kMark, token);
}

bool is_temporary_name(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.size() < kMark.size() + kTokenDigits) return false;
  const std::size_t digits = name.size() - kTokenDigits;
  if (name.compare(digits - kMark.size(), kMark.size(), kMark) != 0) return false;
  return name.find_first_not_of("0123456789abcdef", digits) == std::string::npos;
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), file_(File::create(temporary_name(path_))) {}

AtomicFile::~AtomicFile() {
  if (committed_ || file_.fd() < 0) return;
  std::error_code error;
  if (!fs::remove(file_.path(), error)) log::warn("{}: cannot remove: {}", file_.path().string(), error.message());
}

void AtomicFile::commit() {
  file_.fsync();
  rename_durably(file_.path(), path_);
  committed_ = true;
  file_.close();
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  AtomicFile out(path);
  out.file().pwrite_all(text, 0);
  out.commit();
}

AtomicDirectory::AtomicDirectory(fs::path path)
    : path_(std::move(path)), work_(made_directory(temporary_name(path_))) {}

AtomicDirectory::~AtomicDirectory() {
  if (committed_) return;
  std::error_code error;
  fs::remove_all(work_, error);
  if (error) log::warn("{}: cannot remove: {}", work_.string(), error.message());
}

void AtomicDirectory::commit() {
  fsync_directory_and_files(work_);
  rename_durably(work_, path_);
  committed_ = true;
}

}  // namespace sherd
