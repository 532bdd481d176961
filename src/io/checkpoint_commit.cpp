// The life of a checkpoint's directory: step-N.tmp -> step-N -> .deleting-step-N. Each arrow is one rename.
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "checkpoint_names.hpp"
#include "manifest.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-", kWork = ".tmp", kDeleting = ".deleting-";

void remove_quietly(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log::warn("{}: cannot remove: {}", path.string(), error.message());
}

void remove_leftovers(const fs::path& output) {
  for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
    const std::string name = entry.path().filename().string();
    const bool unfinished = name.starts_with(kPrefix) && name.ends_with(kWork) &&
                            step_of(name.substr(0, name.size() - kWork.size())).has_value();
    if (unfinished || name.starts_with(kDeleting)) remove_quietly(entry.path());
  }
}

fs::path deleting_name(const fs::path& directory) {
  return directory.parent_path() / (std::string(kDeleting) + directory.filename().string());
}

void remove_checkpoint(const fs::path& directory) {
  const fs::path doomed = deleting_name(directory);
  remove_quietly(doomed);
  rename_durably(directory, doomed);  // a removal that is interrupted must not look like a checkpoint
  remove_quietly(doomed);
}

/// Puts `work` in the place of `directory`. An old checkpoint of the same step is exchanged in one call, so that there
/// is one at any moment; where the file system cannot do that, it is moved aside first.
void put_in_place(const fs::path& work, const fs::path& directory) {
  if (fs::exists(directory)) {
    if (::renameat2(AT_FDCWD, work.c_str(), AT_FDCWD, directory.c_str(), RENAME_EXCHANGE) == 0) {
      fsync_directory(directory.parent_path());
      return remove_quietly(work);
    }
    rename_durably(directory, deleting_name(directory));
  }
  rename_durably(work, directory);
}

/// The new checkpoint is safe: what cannot be removed is no error of it.
void retain(const fs::path& output, const fs::path& newest, int keep) {
  try {
    std::vector<fs::path> others = list_checkpoints(output);
    std::erase(others, newest);
    for (std::size_t i = static_cast<std::size_t>(std::max(keep - 1, 0)); keep > 0 && i < others.size(); ++i) {
      remove_checkpoint(others[i]);
    }
    remove_leftovers(output);
  } catch (const std::exception& e) {
    log::warn("{}: an old checkpoint stays, because it cannot be removed: {}", output.string(), e.what());
  }
}

}  // namespace

fs::path committed_directory(const fs::path& output, std::int64_t step) {
  return output / fmt::format("{}{:08}", kPrefix, step);
}

fs::path work_directory(const fs::path& output, std::int64_t step) {
  return committed_directory(output, step) += kWork;
}

std::optional<std::int64_t> step_of(const fs::path& directory) {
  const std::string name = directory.filename().string();
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 8) return {};
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (parsed.ec != std::errc() || parsed.ptr != end || step < 0) return {};
  return committed_directory("", step) == name ? std::optional(step) : std::nullopt;
}

void begin_checkpoint(const fs::path& output, std::int64_t step) {
  SHERD_CHECK(step >= 0, "step {}", step);
  std::error_code error;
  fs::create_directories(output, error);
  if (!error) {
    remove_leftovers(output);
    fs::create_directory(work_directory(output, step), error);
  }
  if (error) throw bad_input("{}: cannot create a checkpoint here: {}", output.string(), error.message());
}

fs::path commit_checkpoint(const fs::path& output, const CheckpointMetadata& metadata,
                           const std::vector<std::string>& parts, int keep,
                           const std::function<void()>& before_rename) {
  const fs::path work = work_directory(output, metadata.step), place = committed_directory(output, metadata.step);
  Manifest manifest(metadata, parts);
  write_index(work / kIndexName, manifest);
  const File index = File::open_read(work / kIndexName);
  manifest.index_bytes = index.size();
  manifest.index_crc = crc_of_file(index);
  File::create(work / kManifestName).pwrite_all(manifest.to_text(), 0);
  fsync_directory_and_files(work);
  if (before_rename) before_rename();
  put_in_place(work, place);
  retain(output, place, keep);
  return place;
}

std::vector<fs::path> list_checkpoints(const fs::path& output) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  if (!fs::is_directory(output)) return {};
  for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
    const auto step = step_of(entry.path());
    if (step && entry.is_directory()) found.emplace_back(*step, entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::optional<fs::path> find_newest_good(const fs::path& output) {
  for (const fs::path& path : list_checkpoints(output)) {
    try {
      const CheckpointReader reader(path);
      return path;
    } catch (const Error& e) {
      log::warn("{}: not a usable checkpoint, trying the one before: {}", path.string(), e.what());
    }
  }
  return {};
}

}  // namespace sherd
