#pragma once
// Where fetched files lie.
//   the Hub's own cache   ROOT/models--org--name/{blobs/ETAG, snapshots/COMMIT/PATH -> blob, refs/REVISION}, which the
//                         Hub's Python client and Hugging Face's loaders read offline
//   flat                  DIR/PATH, plain files
// Nothing is written through a symbolic link below the root, and a name appears only with its whole, hashed content.
#include <filesystem>
#include <string>

#include "hub.hpp"

namespace sherd::fetch {

class Store {
 public:
  static Store cache(const std::filesystem::path& root, const Listing& listing);
  static Store flat(const std::filesystem::path& directory);

  /// Where the user finds the files: the snapshot, or the directory.
  const std::filesystem::path& directory() const { return directory_; }
  /// Where partial files lie until they are whole: on the file system of their final place.
  const std::filesystem::path& partials() const { return partials_; }
  /// Where the content goes. Its folder exists after prepare(file).
  std::filesystem::path content_path(const RemoteFile& file) const;
  void prepare(const RemoteFile& file) const;
  /// After the content is in place: the name under which it is looked for.
  void publish(const RemoteFile& file) const;
  /// After all files: the revision's name, so that offline readers find a whole snapshot or the one before.
  void finish() const;

  bool is_cache() const { return !blobs_.empty(); }

 private:
  std::filesystem::path root_, directory_, partials_, blobs_;  // blobs_ is empty when flat
  std::filesystem::path ref_;
  std::string commit_;
};

/// $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub.
std::filesystem::path default_cache();

/// Makes root/relative; bad_input if a part of `relative` is there and no directory of its own.
void make_plain_directories(const std::filesystem::path& root, const std::filesystem::path& relative);

/// Bytes that a user may still write at `path`.
std::int64_t free_bytes(const std::filesystem::path& path);

}  // namespace sherd::fetch
