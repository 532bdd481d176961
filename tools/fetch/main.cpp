// sherd-fetch: models and data for nodes without network. Fetches from the Hub or a mirror, verifies, packs.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <cstdlib>

#include "archive.hpp"
#include "fetcher.hpp"
#include "lock_merge.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/file/lock.hpp"
#include "sherd/file/posix.hpp"

namespace sherd::fetch {
namespace {

namespace fs = std::filesystem;

constexpr int kInterrupted = 130;

struct Settings {
  std::string repo, revision = "main", url, sha256, cache, flat, folder, archive;
  Selection selection;
  HttpOptions http;
  FetchOptions fetch;
  bool json = false, quiet = false;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// $HF_TOKEN, else the file that the Hub's own client writes, if nobody else can read it.
std::string find_token() {
  if (const std::string token = environment("HF_TOKEN"); !token.empty()) return token;
  fs::path path = environment("HF_TOKEN_PATH");
  if (path.empty() && !environment("HF_HOME").empty()) path = fs::path(environment("HF_HOME")) / "token";
  if (path.empty()) path = fs::path(environment("HOME")) / ".cache" / "huggingface" / "token";
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  if ((status.st_mode & 077) != 0) {
    throw bad_input("{}: others can read your token; chmod 600 {}", path.string(), path.string());
  }
  std::string token = read_text(path, 4096);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

bool is_loopback(const std::string& origin) {
  const std::size_t begin = origin.find("//") + 2;
  const std::string host = origin.substr(begin, origin.rfind(':') - begin);
  in_addr address{};
  const bool is_ipv4 = ::inet_pton(AF_INET, host.c_str(), &address) == 1;
  return host == "localhost" || host == "[::1]" || (is_ipv4 && (ntohl(address.s_addr) >> 24) == 127);
}

/// As OpenSSL's own programs: --ca-file, $SSL_CERT_FILE, the system's.
HttpOptions trusting(HttpOptions http) {
  if (http.ca_file.empty()) http.ca_file = environment("SSL_CERT_FILE");
  return http;
}

HttpOptions hub_options(const Settings& s) {
  HttpOptions http = trusting(s.http);
  if (const std::string mirror = environment("HF_ENDPOINT"); !mirror.empty()) http.endpoint = mirror;
  while (http.endpoint.ends_with('/')) http.endpoint.pop_back();
  http.token = find_token();
  if (http.token.find_first_of(" \t\r\n") != std::string::npos) {
    throw bad_input("the token of HF_TOKEN has blanks or line ends in it; it is not sent anywhere");
  }
  const std::string origin = origin_of(http.endpoint);
  if (!origin.starts_with("https:") && !is_loopback(origin) && !http.token.empty()) {
    throw usage_error("{} is not encrypted, and a token would be sent there; use https, or unset HF_TOKEN", origin);
  }
  return http;
}

ProgressStyle style_of(const Settings& s) {
  if (s.json) return ProgressStyle::json;
  return ::isatty(STDERR_FILENO) != 0 ? ProgressStyle::terminal : ProgressStyle::log;
}

Lock lock_of(const HttpOptions& http, const Listing& listing, const std::vector<Fetched>& files) {
  const char* kind = listing.repo.kind == RepoKind::dataset ? "dataset" : "model";
  Lock lock{listing.commit.empty() ? files.front().file.url : fmt::format("{} {}", kind, listing.repo.id),
            http.endpoint,
            listing.revision,
            listing.commit,
            {}};
  for (const Fetched& f : files) lock.files.push_back({f.file.path, f.file.size, f.sha256});
  return lock;
}

void fetch_all(const Settings& s, const HttpOptions& http, const Listing& listing,
               const std::vector<RemoteFile>& files) {
  const Store store = s.flat.empty() ? Store::cache(s.cache.empty() ? default_cache() : fs::path(s.cache), listing)
                                     : Store::flat(s.flat);
  Progress progress(style_of(s));
  Fetcher fetcher(http, s.fetch, listing, store, progress);
  const std::vector<Fetched> fetched = fetcher.run(files);
  merge_lock(store.directory(), lock_of(http, listing, fetched));
  store.finish();
  progress.finish(store.directory().string());
  if (!s.json) std::printf("%s\n", store.directory().c_str());
}

void fetch_repo(const Settings& s, RepoKind kind) {
  const HttpOptions http = hub_options(s);
  HttpClient client(http);
  const Listing listing = list_files(client, {kind, s.repo}, s.revision);
  fetch_all(s, http, listing, select(listing, s.selection));
}

/// Size and ETag by HEAD, after redirects.
std::int64_t size_of_url(HttpClient& client, std::string url, std::string& etag) {
  for (int hop = 0; hop < 8; ++hop) {
    const Answer answer = client.head(url);
    if (answer.redirect()) {
      const std::string next = answer.header("location");
      if (origin_of(url).starts_with("https:") && !origin_of(next).starts_with("https:")) {
        throw bad_input("{} redirects to {}, which is not encrypted; refused", shown(url), shown(next));
      }
      url = next;
      continue;
    }
    etag = answer.header("etag");
    if (!answer.ok()) throw bad_input("{}: HTTP {}", shown(url), answer.status);
    std::int64_t size = -1;
    const std::string length = answer.header("content-length");
    std::from_chars(length.data(), length.data() + length.size(), size);
    if (size < 0) throw bad_input("{}: the server does not say how long it is", shown(url));
    return size;
  }
  throw bad_input("{}: more than 8 redirects", shown(url));
}

void fetch_url(Settings s) {
  if (!s.sha256.empty() &&
      (s.sha256.size() != 64 || s.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    throw usage_error("--sha256 '{}': 64 hex digits in lower case are expected", s.sha256);
  }
  s.http = trusting(s.http);
  s.http.endpoint = origin_of(s.url);
  HttpClient client(s.http);
  RemoteFile file;
  file.url = s.url;
  const std::string plain = shown(s.url);
  file.path = plain.substr(plain.rfind('/') + 1);
  check_path(file.path);
  file.sha256 = s.sha256;
  file.size = size_of_url(client, s.url, file.validator);
  if (s.sha256.empty()) s.fetch.connections = 1;  // nothing would say that two streams are of one file
  if (s.flat.empty()) s.flat = ".";
  Listing listing;
  listing.repo.id = plain;
  listing.files.push_back(file);
  const Store store = Store::flat(s.flat);
  Progress progress(style_of(s));
  const std::vector<Fetched> fetched = Fetcher(s.http, s.fetch, listing, store, progress).run({file});
  store.finish();
  progress.finish(store.content_path(file).string());
  if (s.sha256.empty()) log::warn("{}: nothing says what it should be (--sha256)", file.path);
  if (!s.json) std::printf("%s  %s\n", fetched.front().sha256.c_str(), store.content_path(file).c_str());
}

void verify(const Settings& s) {
  const Lock lock = load_lock(s.folder);
  verify_lock(lock, s.folder);
  std::int64_t bytes = 0;
  for (const LockedFile& file : lock.files) bytes += file.size;
  std::printf("%s: %zu files, %s, all as fetched from %s at %s\n", s.folder.c_str(), lock.files.size(),
              bytes_text(static_cast<double>(bytes)).c_str(), lock.source.c_str(), lock.commit.c_str());
}

void add_transfer(CLI::App& app, Settings& s) {
  app.add_option("--flat", s.flat, "plain files in DIR instead of the Hub's cache");
  app.add_option("--connections", s.fetch.connections, "at once (6)")->check(CLI::Range(1, 12));
  app.add_option("--ca-file", s.http.ca_file, "certificates to trust, PEM (the system's)");
  app.add_option("--retries", s.http.retries, "attempts in a row that bring nothing (5)")->check(CLI::Range(0, 1000));
  app.add_option("--retry-wait", s.http.retry_wait, "seconds before the first, doubled up to 8 times (1)")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--stall-timeout", s.http.stall_timeout, "seconds without a byte (60)")
      ->check(CLI::Range(1.0, 3600.0));
  app.add_option("--chunk-bytes", s.fetch.chunk_bytes,
                 "fetched at once, and again after an interruption; two per connection are held in memory (4 MiB)")
      ->check(CLI::Range(std::int64_t{4096}, std::int64_t{64} << 20));
  app.add_flag("--json", s.json, "progress as JSON lines on standard output");
}

void add_repository(CLI::App& app, Settings& s) {
  app.add_option("repository", s.repo, "such as codellama/CodeLlama-7b-hf")->required();
  app.add_option("--revision", s.revision, "branch, tag or commit (main)");
  app.add_option("--include", s.selection.include, "only files that match GLOB");
  app.add_option("--exclude", s.selection.exclude, "no files that match GLOB");
  app.add_option("--files", s.selection.numbers, "files by the last number in their names, such as 1-4");
  app.add_option("--cache-dir", s.cache, "the Hub's cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub)");
  add_transfer(app, s);
}

void on_signal(int signal) {
  request_stop();
  std::signal(signal, SIG_DFL);  // a second one ends at once
}

int run(int argc, char** argv) {
  Settings s;
  CLI::App app{
      "sherd-fetch: models and data for nodes without network.\nThe token of a gated model comes from HF_TOKEN "
      "or from ~/.cache/huggingface/token (mode 600), a mirror from HF_ENDPOINT."};
  app.require_subcommand(1);
  auto* model = app.add_subcommand("model", "a model: configuration, safetensors, tokenizer, licence");
  auto* dataset = app.add_subcommand("dataset", "a dataset's files");
  auto* url = app.add_subcommand("url", "one file");
  auto* check = app.add_subcommand("verify", "every hash of a fetched folder, without network");
  auto* packing = app.add_subcommand("pack", "a fetched folder -> one archive, without links");
  auto* unpacking = app.add_subcommand("unpack", "the archive -> a folder, every hash checked");
  add_repository(*model, s);
  add_repository(*dataset, s);
  url->add_option("url", s.url)->required();
  url->add_option("--sha256", s.sha256, "what it must be");
  add_transfer(*url, s);
  check->add_option("folder", s.folder)->required();
  packing->add_option("folder", s.folder)->required();
  packing->add_option("archive", s.archive)->required();
  unpacking->add_option("archive", s.archive)->required();
  unpacking->add_option("folder", s.folder)->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  if (*model || *dataset || *url) {  // what has come is to be kept; the others may end at once
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
  }
  if (*model) fetch_repo(s, RepoKind::model);
  if (*dataset) fetch_repo(s, RepoKind::dataset);
  if (*url) fetch_url(s);
  if (*check) verify(s);
  if (*packing) pack(s.folder, s.archive);
  if (*unpacking) unpack(s.archive, s.folder);
  return 0;
}

}  // namespace
}  // namespace sherd::fetch

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  int code = 0;
  try {
    code = sherd::fetch::run(argc, argv);
  } catch (const sherd::fetch::Interrupted&) {
    std::fprintf(stderr, "sherd-fetch: stopped; what has come is kept, start the same command again to go on\n");
    code = sherd::fetch::kInterrupted;
  } catch (const sherd::Error& e) {
    std::fprintf(stderr, "sherd-fetch: error: %s\n", sherd::log::printable(e.what()).c_str());
    code = static_cast<int>(e.code());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "sherd-fetch: error: %s\n", sherd::log::printable(e.what()).c_str());
    code = static_cast<int>(sherd::ExitCode::internal);
  }
  curl_global_cleanup();
  return code;
}
