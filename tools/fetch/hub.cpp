#include "hub.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/lock.hpp"

namespace sherd::fetch {

namespace {

constexpr std::int64_t kListingLimit = 64 << 20;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;

/// For a path in a URL: '/' stays.
std::string percent_encoded(std::string_view text, std::string_view keep = "/") {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       keep.find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// "org/name" or "name": what may stand in a URL and in a folder's name.
void check_repo_id(const std::string& id) {
  check_path(id);
  const auto odd = [](char c) {
    return !(std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("-._/").find(c) != std::string::npos);
  };
  if (std::count(id.begin(), id.end(), '/') > 1 || std::any_of(id.begin(), id.end(), odd) ||
      id.find("--") != std::string::npos) {
    throw usage_error("'{}' is no repository; expected a name such as codellama/CodeLlama-7b-hf", id);
  }
}

RemoteFile file_of(const JsonValue& entry) {
  RemoteFile file;
  file.path = entry.at("rfilename").string();
  check_path(file.path);
  if (entry.has("lfs") && entry.at("lfs").is_object()) {
    const JsonValue lfs = entry.at("lfs");
    file.sha256 = lfs.at("sha256").string();
    file.size = lfs.at("size").integer(0, kMostBytes);
  } else if (entry.has("blobId") && entry.at("blobId").is_string()) {
    file.git_sha1 = entry.at("blobId").string();
    file.size = entry.at("size").integer(0, kMostBytes);
  }
  const bool known = file.sha256.empty() ? is_hex(file.git_sha1, 40) : is_hex(file.sha256, 64);
  if (!known) throw bad_input("{}: no digest of {}; this server's listing cannot be trusted", entry.where(), file.path);
  return file;
}

/// The Hub's JSON, or what came instead of it.
JsonDocument parsed(const Answer& answer) {
  const std::string type = answer.header("content-type");
  if (type.starts_with("text/html") || answer.body.starts_with("<")) {
    throw bad_input(
        "{} answered with a web page where the Hub's JSON was expected: a captive portal or a proxy? Open "
        "it in a browser on this machine",
        shown(answer.url));
  }
  return JsonDocument::parse(answer.body, shown(answer.url));
}

}  // namespace

void check_path(std::string_view path) {
  if (is_inside(path)) return;
  throw bad_input(
      "the name '{}' would leave its folder, or is not one that every system can have; nothing is fetched "
      "from such a repository",
      path.substr(0, 200));
}

void refused(const Answer& answer, const std::string& what, bool has_token) {
  const std::string code = answer.header("x-error-code");
  const char* token = has_token ? "the token of HF_TOKEN has no access" : "set HF_TOKEN, if it is private or gated";
  if (code == "GatedRepo" || (code.empty() && answer.status == 403)) {
    throw bad_input("{} is gated: accept its licence on the Hub with the account of your token ({})", what,
                    has_token ? "HF_TOKEN is set, and this account has no access yet" : "and set HF_TOKEN");
  }
  if (code == "RevisionNotFound") throw bad_input("{}: no such revision", what);
  if (code == "EntryNotFound") throw bad_input("{}: no such file", what);
  if (code == "RepoNotFound" || answer.status == 404) {
    throw bad_input("{}: no such repository, or a private one: check its name; {}", what, token);
  }
  if (answer.status == 401) {
    throw bad_input("{}: the server wants to know who asks (HTTP 401): it is missing, private or gated; {}", what,
                    token);
  }
  throw bad_input("{}: HTTP {} from {}", what, answer.status, shown(answer.url));
}

Listing list_files(HttpClient& http, const Repo& repo, const std::string& revision) {
  check_repo_id(repo.id);
  const std::string& endpoint = http.options().endpoint;
  const bool dataset = repo.kind == RepoKind::dataset;
  const Answer answer = http.get(fmt::format("{}/api/{}/{}/revision/{}?blobs=true", endpoint,
                                             dataset ? "datasets" : "models", repo.id, percent_encoded(revision, "")),
                                 kListingLimit);
  const std::string what = fmt::format("{} at revision {}", repo.id, revision);
  if (!answer.ok()) refused(answer, what, !http.options().token.empty());
  const JsonDocument document = parsed(answer);
  const JsonValue root = document.root();
  Listing listing{repo, revision, root.at("sha").string(), {}};
  if (!is_hex(listing.commit, 40)) throw bad_input("{}: '{}' is no commit", root.where(), listing.commit);
  const JsonValue siblings = root.at("siblings");
  for (std::size_t i = 0; i < siblings.size(); ++i) {
    RemoteFile file = file_of(siblings.at(i));
    file.url = fmt::format("{}/{}{}/resolve/{}/{}", endpoint, dataset ? "datasets/" : "", repo.id, listing.commit,
                           percent_encoded(file.path));
    listing.files.push_back(std::move(file));
  }
  std::sort(listing.files.begin(), listing.files.end(),
            [](const RemoteFile& a, const RemoteFile& b) { return a.path < b.path; });
  for (std::size_t i = 1; i < listing.files.size(); ++i) {
    if (listing.files[i].path == listing.files[i - 1].path) {
      throw bad_input("{}: {} is listed twice", what, listing.files[i].path);
    }
  }
  return listing;
}

void check_identity(const Answer& answer, const Listing& listing, const RemoteFile& file) {
  const std::string commit = answer.header("x-repo-commit");
  if (!commit.empty() && !listing.commit.empty() && commit != listing.commit) {
    throw bad_input("{}: the server gives commit {}, {} was listed: the revision has moved. Start again", file.path,
                    commit, listing.commit);
  }
}

}  // namespace sherd::fetch
