#pragma once
// Small corpora and files for the tests of this layer.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/data/corpus.hpp"

namespace sherd::test {

/// A directory of this process, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "sherd-data-XXXXXX").string();
    SHERD_CHECK(::mkdtemp(name.data()) != nullptr, "mkdtemp {}", name);
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A corpus of the given documents.
inline void write_corpus(const std::string& path, const std::vector<std::vector<std::uint16_t>>& documents,
                         double eval_fraction = 0, std::int64_t pieces = 60000) {
  CorpusInfo info;
  std::vector<std::uint16_t> tokens;
  std::vector<std::uint64_t> offsets{0};
  for (const auto& document : documents) {
    tokens.insert(tokens.end(), document.begin(), document.end());
    offsets.push_back(tokens.size());
  }
  info.documents = static_cast<std::int64_t>(documents.size());
  info.tokens = static_cast<std::int64_t>(tokens.size());
  info.pieces = pieces;
  info.tokenizer_sha256 = std::string(64, 'a');
  info.source = "a test";
  info.eval_fraction = eval_fraction;
  info.split_seed = 42;
  CorpusWriter writer(path, info);
  const std::size_t half = tokens.size() / 2;
  writer.append_tokens(std::as_bytes(std::span(tokens).first(half)));
  writer.append_tokens(std::as_bytes(std::span(tokens).subspan(half)));
  writer.append_offsets(offsets);
  writer.commit();
}

/// What `act` throws; fails the program's expectations when it is another code.
inline std::string message_of(ExitCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.code() == code ? error.what() : "wrong exit code: " + std::string(error.what());
  }
  return "nothing was thrown";
}

}  // namespace sherd::test
