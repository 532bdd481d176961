#pragma once
// The lock file of a folder that several fetches fill, one after the other or at once.
#include <filesystem>

#include "sherd/file/lock.hpp"

namespace sherd::fetch {

/// Writes `lock` into the folder, with the files that earlier fetches of the same commit locked. One process at a time:
/// whose file was created exclusively, which works where flock does nothing; one that has ended is not waited for.
void merge_lock(const std::filesystem::path& folder, Lock lock);

}  // namespace sherd::fetch
