#include "store.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sherd/base/error.hpp"
#include "sherd/file/posix.hpp"

namespace sherd::fetch {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPartials = ".sherd-fetch";

/// models--codellama--CodeLlama-7b-hf
std::string folder_of(const Repo& repo) {
  std::string name = repo.kind == RepoKind::dataset ? "datasets--" : "models--";
  for (const char c : repo.id) name += c == '/' ? std::string("--") : std::string(1, c);
  return name;
}

void make_root(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw bad_input("{}: cannot create the directory: {}", path.string(), error.message());
}

/// A link that appears whole, over what is there.
void link_durably(const fs::path& target, const fs::path& link) {
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(link, error)) && fs::read_symlink(link, error) == target) return;
  if (fs::is_directory(fs::symlink_status(link, error))) {
    throw bad_input("{}: a directory is in the way; remove it", link.string());
  }
  const fs::path temporary = temporary_name(link);
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    throw bad_input("{}: cannot make a symbolic link: {}; fetch with --flat DIR on this file system",
                    temporary.string(), std::strerror(errno));
  }
  rename_durably(temporary, link);
}

}  // namespace

fs::path default_cache() {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != 0 ? value : nullptr;
  };
  if (const char* cache = set("HF_HUB_CACHE")) return cache;
  if (const char* home = set("HF_HOME")) return fs::path(home) / "hub";
  if (const char* home = set("HOME")) return fs::path(home) / ".cache" / "huggingface" / "hub";
  throw usage_error("neither HF_HUB_CACHE, HF_HOME nor HOME is set; say where with --cache-dir or --flat");
}

void make_plain_directories(const fs::path& root, const fs::path& relative) {
  constexpr int kMostTries = 100;
  fs::path at = root;
  for (const fs::path& part : relative) {
    at /= part;
    struct stat status {};
    bool there = false;
    // What another process had made, it may remove between the two calls: Store::finish.
    for (int tries = 0; !there && tries < kMostTries; ++tries) {
      if (::mkdir(at.c_str(), 0777) != 0 && errno != EEXIST) {
        throw bad_input("{}: cannot create the directory: {}", at.string(), std::strerror(errno));
      }
      there = ::lstat(at.c_str(), &status) == 0;
    }
    if (!there || !S_ISDIR(status.st_mode)) {
      throw bad_input("{}: a link or a file is where a directory was expected; remove it", at.string());
    }
  }
}

std::int64_t free_bytes(const fs::path& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) {
    throw bad_input("{}: cannot ask for its free space: {}", path.string(), std::strerror(errno));
  }
  return static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize);
}

Store Store::cache(const fs::path& root, const Listing& listing) {
  Store store;
  make_root(root);
  const fs::path folder = folder_of(listing.repo);
  store.root_ = root / folder;
  store.commit_ = listing.commit;
  for (const char* name : {"blobs", "snapshots", "refs"}) make_plain_directories(root, folder / name);
  make_plain_directories(store.root_, fs::path("snapshots") / listing.commit);
  store.blobs_ = store.root_ / "blobs";
  store.partials_ = store.blobs_;
  store.directory_ = store.root_ / "snapshots" / listing.commit;
  if (listing.revision != listing.commit) {
    check_path(listing.revision);
    store.ref_ = fs::path("refs") / listing.revision;
  }
  return store;
}

Store Store::flat(const fs::path& directory) {
  Store store;
  make_root(directory);
  make_plain_directories(directory, kPartials);
  store.root_ = store.directory_ = directory;
  store.partials_ = directory / kPartials;
  return store;
}

fs::path Store::content_path(const RemoteFile& file) const {
  return is_cache() ? blobs_ / file.etag() : directory_ / file.path;
}

void Store::prepare(const RemoteFile& file) const {
  make_plain_directories(directory_, fs::path(file.path).parent_path());
}

void Store::publish(const RemoteFile& file) const {
  if (!is_cache()) return;
  const fs::path path = file.path;
  fs::path target = fs::path("..") / "..";
  for (const fs::path& part : path.parent_path()) {
    if (!part.empty()) target /= "..";
  }
  link_durably(target / "blobs" / file.etag(), directory_ / path);
}

void Store::finish() const {
  if (is_cache() && !ref_.empty()) {
    make_plain_directories(root_, ref_.parent_path());
    write_text(root_ / ref_, commit_);
  }
  if (!is_cache()) ::rmdir(partials_.c_str());  // stays while another process has something in it
}

}  // namespace sherd::fetch
