#include "partial.hpp"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <numeric>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::fetch {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSuffix = ".partial";

constexpr auto kNobodyPausesSoLong = std::chrono::hours(6);

/// The first line of a file that the kernel makes up, whose size is not known; empty if there is none.
std::string of_kernel(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Which processes can be asked about: those of this boot of this machine, in this process namespace.
std::string process_space() {
  std::string boot = of_kernel("/proc/sys/kernel/random/boot_id");
  std::erase_if(boot, [](unsigned char c) { return std::isxdigit(c) == 0; });
  std::error_code error;
  std::string space = fs::read_symlink("/proc/self/ns/pid", error).string();  // "pid:[4026531836]"
  std::erase_if(space, [](unsigned char c) { return std::isdigit(c) == 0; });
  return boot.substr(0, 12) + "-" + space;
}

/// Clock ticks between boot and the start of a process: with its id, a process is known for as long as the machine is
/// up. Empty if there is none of this id.
std::string start_time(const std::string& pid) {
  const std::string stat = of_kernel(fs::path("/proc") / pid / "stat");
  std::size_t at = stat.rfind(')');  // the name before may hold anything
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  return at == std::string::npos ? "" : stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// Seconds would do, hours are left for clocks that differ.
bool long_untouched(const fs::path& directory) {
  std::error_code error;
  const auto touched = fs::last_write_time(directory / "chunks", error);
  return !error && fs::file_time_type::clock::now() - touched > kNobodyPausesSoLong;
}

}  // namespace

std::string owner_name() {
  std::uint32_t token = 0;
  SHERD_CHECK(::getrandom(&token, sizeof token, 0) == sizeof token, "getrandom failed");
  return fmt::format("{}.{}.{}.{:08x}", process_space(), ::getpid(), start_time("self"), token);
}

bool has_ended(const std::string& owner) {
  const std::vector<std::string> parts = split(owner);
  if (parts.size() != 4 || parts[0] != process_space()) return false;  // nothing is known
  pid_t pid = 0;
  const auto parsed = std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), pid);
  if (parsed.ec != std::errc() || pid <= 0) return false;
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  const std::string started = start_time(parts[1]);  // empty where others' processes are hidden
  return !started.empty() && started != parts[2];
}

namespace {

struct Found {
  fs::path path;
  std::string name, owner;  // the digest, with or without "-CHUNK"
  bool of_this_machine = false;
};

std::vector<Found> partials_in(const fs::path& folder) {
  std::vector<Found> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string text = entry.path().filename().string();
    const std::size_t dot = text.find('.');
    if (dot == std::string::npos || !text.ends_with(kSuffix) || text.size() < dot + 1 + kSuffix.size()) continue;
    const std::string owner = text.substr(dot + 1, text.size() - dot - 1 - kSuffix.size());
    found.push_back({entry.path(), text.substr(0, dot), owner, owner.starts_with(process_space() + ".")});
  }
  return found;
}

std::string digest_of(const std::string& name) {
  return name.substr(0, name.find('-'));
}

void remove_partial(const fs::path& path, const fs::path& folder) {
  const fs::path mine = folder / fmt::format("removed.{}{}", owner_name(), kSuffix);
  std::error_code ignored;
  if (::rename(path.c_str(), mine.c_str()) == 0) fs::remove_all(mine, ignored);
}

}  // namespace

void remove_ended(const fs::path& folder, const std::set<std::string>& names) {
  for (const Found& found : partials_in(folder)) {
    const bool left = found.of_this_machine ? has_ended(found.owner) && names.contains(digest_of(found.name))
                                            : long_untouched(found.path);
    if (left) remove_partial(found.path, folder);
  }
}

std::map<std::string, std::int64_t> bytes_begun(const fs::path& folder) {
  std::map<std::string, std::int64_t> bytes;
  for (const Found& found : partials_in(folder)) {
    struct stat status {};
    if (!has_ended(found.owner) || ::stat((found.path / "data").c_str(), &status) != 0) continue;
    std::int64_t& most = bytes[digest_of(found.name)];
    most = std::max<std::int64_t>(most, status.st_blocks * 512);
  }
  return bytes;
}

Partial::Partial(fs::path directory, File data, File chunks, std::vector<char> done)
    : directory_(std::move(directory)), data_(std::move(data)), chunks_(std::move(chunks)), done_(std::move(done)) {}

Partial Partial::open(const fs::path& folder, const std::string& digest, std::int64_t size, std::int64_t chunk_bytes) {
  const std::string name = fmt::format("{}-{}", digest, chunk_bytes);
  for (const Found& found : partials_in(folder)) {
    if (found.name != name || !has_ended(found.owner)) continue;
    const fs::path mine = folder / fmt::format("{}.{}{}", name, owner_name(), kSuffix);
    if (auto partial = take_over(found.path, mine, size, chunk_bytes)) return std::move(*partial);
  }
  return begin(folder, name, size, chunk_bytes);
}

Partial Partial::begin(const fs::path& folder, const std::string& name, std::int64_t size, std::int64_t chunk_bytes) {
  const fs::path directory = folder / fmt::format("{}.{}{}", name, owner_name(), kSuffix);
  int made = ::mkdir(directory.c_str(), 0755);
  for (int i = 0; made != 0 && errno == ENOENT && i < 100; ++i) {  // another fetcher has come to its end and tidied up
    ::mkdir(folder.c_str(), 0777);
    made = ::mkdir(directory.c_str(), 0755);
  }
  if (made != 0) {
    throw bad_input("{}: cannot create: {}", directory.string(), std::strerror(errno));
  }
  File data = File::create(directory / "data"), chunks = File::create(directory / "chunks");
  const std::vector<char> done(static_cast<std::size_t>((size + chunk_bytes - 1) / chunk_bytes), 0);
  chunks.pwrite_all(std::as_bytes(std::span(done)), 0);
  if (::ftruncate(data.fd(), size) != 0) {
    throw does_not_fit("{}: cannot make a file of {} bytes: {}", directory.string(), size, std::strerror(errno));
  }
  return {directory, std::move(data), std::move(chunks), done};
}

/// Null when another taker was faster, or when what lies there is of no use, which is then removed.
std::optional<Partial> Partial::take_over(const fs::path& directory, const fs::path& new_directory, std::int64_t size,
                                          std::int64_t chunk_bytes) {
  if (::rename(directory.c_str(), new_directory.c_str()) != 0) return std::nullopt;
  std::error_code ignored;
  try {
    File data = File::open_update(new_directory / "data");
    File chunks = File::open_update(new_directory / "chunks");
    std::vector<char> done(static_cast<std::size_t>((size + chunk_bytes - 1) / chunk_bytes), 0);
    const bool fits = data.size() == size && chunks.size() == static_cast<std::int64_t>(done.size());
    if (fits) chunks.pread_all(std::as_writable_bytes(std::span(done)), 0);
    const bool sane = std::all_of(done.begin(), done.end(), [](char c) { return c == 0 || c == 1; });
    if (fits && sane) return Partial(new_directory, std::move(data), std::move(chunks), std::move(done));
  } catch (const Error&) {  // killed between mkdir and the files
  }
  fs::remove_all(new_directory, ignored);
  return std::nullopt;
}

std::int64_t Partial::chunks_done() const {
  return std::accumulate(done_.begin(), done_.end(), std::int64_t{0});
}

void Partial::set_done(std::int64_t chunk) {
  const char one = 1;
  chunks_.pwrite_all(std::as_bytes(std::span(&one, 1)), chunk);
  done_[static_cast<std::size_t>(chunk)] = one;
}

void Partial::restart() {
  std::fill(done_.begin(), done_.end(), 0);
  chunks_.pwrite_all(std::as_bytes(std::span(done_)), 0);
}

void Partial::commit(const fs::path& final_path) {
  data_.fsync();
  rename_durably(directory_ / "data", final_path);
  data_.close();
  discard();
}

void Partial::discard() {
  std::error_code error;
  fs::remove_all(directory_, error);
  if (error) log::warn("{}: cannot remove: {}", directory_.string(), error.message());
}

}  // namespace sherd::fetch
