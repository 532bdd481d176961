#pragma once
// One file to carry across an air gap: a tar archive (POSIX ustar, sizes above 8 GiB as GNU tar writes them) of the
// files of a lock and the lock itself, without links. tar -xf reads it, too.
#include <filesystem>

namespace sherd::fetch {

/// Hashes while it reads: bad_input if a file is not what the lock says, and no archive appears.
void pack(const std::filesystem::path& folder, const std::filesystem::path& archive);

/// Into a new folder that appears when every file has the size and the SHA-256 that the archive's lock says. bad_input
/// for anything that is not a plain file inside the folder and in the lock.
void unpack(const std::filesystem::path& archive, const std::filesystem::path& folder);

}  // namespace sherd::fetch
