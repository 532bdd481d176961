#include "sherd/file/lock.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/file/digest.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kFormat = 1, kLimit = 64 << 20;

LockedFile parse_file(const JsonValue& value) {
  LockedFile file;
  file.path = value.at("path").string();
  file.size = value.at("size").integer(0);
  file.sha256 = value.at("sha256").string();
  if (!is_inside(file.path)) throw bad_input("{}: '{}' would leave its folder", value.where(), file.path);
  if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw bad_input("{}: '{}' is no SHA-256", value.where(), file.sha256);
  }
  return file;
}

}  // namespace

bool is_inside(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.front() == '/' || (path.size() > 1 && path[1] == ':')) return false;
  const auto odd = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(path.begin(), path.end(), odd)) return false;
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {  // U+0080 to U+009F in UTF-8: terminals obey these, too
    const auto next = static_cast<unsigned char>(path[i + 1]);
    if (path[i] == '\xc2' && next >= 0x80 && next < 0xa0) return false;
  }
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    begin = end + 1;
  }
  return true;
}

std::string Lock::to_json() const {
  std::string list;
  for (const LockedFile& file : files) {
    list += fmt::format("{}\n    {{\"path\": {}, \"size\": {}, \"sha256\": \"{}\"}}", list.empty() ? "" : ",",
                        json_quote(file.path), file.size, file.sha256);
  }
  return fmt::format(
      "{{\n  \"format\": {},\n  \"source\": {},\n  \"endpoint\": {},\n  \"revision\": {},\n  \"commit\": {},\n"
      "  \"files\": [{}\n  ]\n}}\n",
      kFormat, json_quote(source), json_quote(endpoint), json_quote(revision), json_quote(commit), list);
}

Lock load_lock(const fs::path& folder) {
  const JsonDocument document = JsonDocument::load(folder / kLockName, kLimit);
  const JsonValue root = document.root();
  if (const std::int64_t format = root.at("format").integer(); format != kFormat) {
    throw bad_input("{}: format {}; this program reads format {}", root.where(), format, kFormat);
  }
  Lock lock{root.at("source").string(),
            root.at("endpoint").string(),
            root.at("revision").string(),
            root.at("commit").string(),
            {}};
  const JsonValue files = root.at("files");
  for (std::size_t i = 0; i < files.size(); ++i) lock.files.push_back(parse_file(files.at(i)));
  return lock;
}

void verify_lock(const Lock& lock, const fs::path& folder, int part, int parts) {
  SHERD_CHECK(part >= 0 && part < parts, "part {} of {}", part, parts);
  constexpr const char* kAdvice =
      "fetch it again with sherd-fetch where there is a network, or remove the lock if the change is meant";
  for (std::size_t i = 0; i < lock.files.size(); ++i) {
    const LockedFile& file = lock.files[i];
    const fs::path path = folder / file.path;
    if (!fs::exists(path)) {
      throw bad_input("{}: missing, and {} lists it; {}", path.string(), kLockName, kAdvice);
    }
    const File there = File::open_read(path);
    if (there.size() != file.size) {
      throw bad_input("{}: {} bytes, {} says {}; {}", path.string(), there.size(), kLockName, file.size, kAdvice);
    }
    if (i % static_cast<std::size_t>(parts) != static_cast<std::size_t>(part)) continue;
    if (const std::string found = sha256_hex(there); found != file.sha256) {
      throw bad_input("{}: its SHA-256 is {:.12}..., {} says {:.12}...; {}", path.string(), found, kLockName,
                      file.sha256, kAdvice);
    }
  }
}

}  // namespace sherd
