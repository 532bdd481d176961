#pragma once
// The Hub's protocol (huggingface.co and its mirrors): what a revision holds, and where its files lie. Every name it
// sends is checked before it becomes a path.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http.hpp"

namespace sherd::fetch {

enum class RepoKind { model, dataset };

struct Repo {
  RepoKind kind = RepoKind::model;
  std::string id;  // "org/name"
};

/// One file of a revision. Exactly one of the digests is known; neither for `sherd-fetch url` without --sha256.
struct RemoteFile {
  std::string path;  // relative, with '/', checked
  std::int64_t size = 0;
  std::string sha256;     // of files in large-file storage
  std::string git_sha1;   // of the others
  std::string validator;  // without a digest: the ETag that every answer must have
  std::string url;        // where to ask for it, not yet redirected

  /// The Hub's name of the content: what its cache calls the blob.
  const std::string& etag() const { return sha256.empty() ? git_sha1 : sha256; }
};

struct Listing {
  Repo repo;
  std::string revision, commit;  // as asked for; 40 hex digits
  std::vector<RemoteFile> files;
};

/// All files of a revision. bad_input for a repository, revision or permission that is not there, told apart as far as
/// the server does, and for a listing with a name that would leave the folder.
Listing list_files(HttpClient& http, const Repo& repo, const std::string& revision);

/// What the answer to a file's first request says must be what the listing said: commit, digest. bad_input otherwise.
void check_identity(const Answer& answer, const Listing& listing, const RemoteFile& file);

/// bad_input saying why the server refused, with what to do.
[[noreturn]] void refused(const Answer& answer, const std::string& what, bool has_token);

/// A path that stays inside the folder it is joined to, on any system: relative, no "..", no backslash, no drive, no
/// control characters. bad_input otherwise.
void check_path(std::string_view path);

/// The part of the listing to fetch: --include and --exclude globs; without --include, of a model what Sherd needs.
/// Pickles are never among it.
struct Selection {
  std::vector<std::string> include, exclude;
  std::string numbers;  // --files 1-4: files whose last number lies in the range
};
std::vector<RemoteFile> select(const Listing& listing, const Selection& selection);
/// '*' and '?' within a name, '*' also across '/'.
bool glob_matches(std::string_view pattern, std::string_view text);

}  // namespace sherd::fetch
