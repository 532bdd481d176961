#include "lock_merge.hpp"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <thread>

#include "partial.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/file/posix.hpp"

namespace sherd::fetch {

namespace fs = std::filesystem;

namespace {

constexpr int kMostTurns = 500;
constexpr std::chrono::milliseconds kTurn{20};

std::string text_or_nothing(const fs::path& path) {
  try {
    return read_text(path, 4096);
  } catch (const Error&) {
    return {};  // gone meanwhile
  }
}

/// Held by one process at a time.
class Turn {
 public:
  explicit Turn(const fs::path& folder) : path_(folder / (std::string(kLockName) + ".busy")) {
    for (int i = 0; !create(); ++i) {
      const std::string owner = text_or_nothing(path_);
      if ((!owner.empty() && has_ended(owner)) || i == kMostTurns) {
        log::warn("{}: left behind by a fetch that was killed; removed", path_.string());
        ::unlink(path_.c_str());
      }
      std::this_thread::sleep_for(kTurn);
    }
  }
  ~Turn() { ::unlink(path_.c_str()); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  /// False if the file is there. A link makes it appear with its owner's name in it.
  bool create() const {
    const fs::path mine = temporary_name(path_);
    {
      const File file = File::create(mine);
      file.pwrite_all(owner_name(), 0);
    }
    const bool made = ::link(mine.c_str(), path_.c_str()) == 0;
    const bool impossible = !made && errno != EEXIST;  // a file system without links: no turns are taken there
    ::unlink(mine.c_str());
    return made || impossible;
  }

  fs::path path_;
};

}  // namespace

void merge_lock(const fs::path& folder, Lock lock) {
  const Turn turn(folder);
  if (fs::exists(folder / kLockName)) {
    const Lock before = load_lock(folder);
    std::map<std::string, LockedFile> all;
    if (before.commit == lock.commit && before.source == lock.source) {
      for (const LockedFile& file : before.files) all[file.path] = file;
    }
    for (const LockedFile& file : lock.files) all[file.path] = file;
    lock.files.clear();
    for (const auto& [path, file] : all) lock.files.push_back(file);
  }
  write_text(folder / kLockName, lock.to_json());
}

}  // namespace sherd::fetch
