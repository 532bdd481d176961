#pragma once
// sherd.lock.json: what a folder of fetched files holds, so that a run on a node without network can prove that
// everything is there before it begins. sherd-fetch writes it last; `sherd train` checks it first.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sherd {

inline constexpr const char* kLockName = "sherd.lock.json";

struct LockedFile {
  std::string path;  // relative, with '/'
  std::int64_t size = 0;
  std::string sha256;  // 64 hex digits
};

struct Lock {
  std::string source;  // "model codellama/CodeLlama-7b-hf", or a URL
  std::string endpoint, revision, commit;
  std::vector<LockedFile> files;  // by path

  std::string to_json() const;
};

/// bad_input when the file is missing or is no lock, or names a file outside its folder.
Lock load_lock(const std::filesystem::path& folder);

/// bad_input for the first file of the lock that is missing, has another size or another SHA-256, saying which and what
/// to do. `part` of `parts`, for ranks that share the work: only every parts-th file is hashed.
void verify_lock(const Lock& lock, const std::filesystem::path& folder, int part = 0, int parts = 1);

/// True for a relative path without "..", ".", empty parts, backslashes, drives and control characters.
bool is_inside(std::string_view path);

}  // namespace sherd
