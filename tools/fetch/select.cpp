// Which files of a repository are fetched.
#include <algorithm>
#include <array>
#include <charconv>

#include "hub.hpp"
#include "sherd/base/error.hpp"
#include "sherd/file/lock.hpp"

namespace sherd::fetch {

namespace {

/// What Sherd reads of a model, and what one must have read before using it.
constexpr std::array kModelFiles = {"config.json",           "generation_config.json",
                                    "*.safetensors",         "*.safetensors.index.json",
                                    "tokenizer.model",       "tokenizer.json",
                                    "tokenizer_config.json", "special_tokens_map.json",
                                    "added_tokens.json",     "LICENSE*",
                                    "USE_POLICY*",           "README.md"};
/// They run code when they are loaded.
constexpr std::array kPickles = {"*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy"};

template <class Patterns>
bool any_matches(const Patterns& patterns, std::string_view path) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const auto& p) { return glob_matches(p, path); });
}

struct Range {
  std::int64_t first, last;
};

Range range_of(const std::string& text) {
  Range r{0, 0};
  const char* end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, r.first);
  r.last = r.first;
  if (parsed.ec == std::errc() && parsed.ptr < end && *parsed.ptr == '-') {
    parsed = std::from_chars(parsed.ptr + 1, end, r.last);
  }
  if (parsed.ec != std::errc() || parsed.ptr != end || r.first < 0 || r.last < r.first) {
    throw usage_error("--files '{}': expected a number or a range, such as 1-4", text);
  }
  return r;
}

/// The last run of digits in a file's name; -1 without one.
std::int64_t last_number(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const std::size_t end = name.find_last_of("0123456789");
  if (end == std::string_view::npos) return -1;
  std::size_t begin = end;
  while (begin > 0 && name[begin - 1] >= '0' && name[begin - 1] <= '9') --begin;
  std::int64_t value = -1;
  std::from_chars(name.data() + begin, name.data() + end + 1, value);
  return value;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == text[t] || pattern[p] == '?')) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::vector<RemoteFile> select(const Listing& listing, const Selection& selection) {
  std::vector<RemoteFile> chosen;
  for (const RemoteFile& file : listing.files) {
    const bool nested = file.path.find('/') != std::string::npos;  // other formats and originals, in models
    const bool by_default = listing.repo.kind == RepoKind::dataset || (!nested && any_matches(kModelFiles, file.path));
    const bool wanted = selection.include.empty() ? by_default : any_matches(selection.include, file.path);
    if (file.path == kLockName || file.path.starts_with(".sherd-fetch/")) continue;  // our own
    if (!wanted || any_matches(selection.exclude, file.path) || any_matches(kPickles, file.path)) continue;
    if (!selection.numbers.empty()) {
      const Range range = range_of(selection.numbers);
      const std::int64_t number = last_number(file.path);
      if (number < range.first || number > range.last) continue;
    }
    chosen.push_back(file);
  }
  if (chosen.empty()) {
    throw bad_input("{}: none of its {} files is chosen by --include, --exclude and --files (pickles never are)",
                    listing.repo.id, listing.files.size());
  }
  return chosen;
}

}  // namespace sherd::fetch
