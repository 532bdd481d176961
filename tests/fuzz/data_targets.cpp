// Lines of text and JSONL, tokenizer models, corpora.
#include "corpus_files.hpp"
#include "sherd/data/text_lines.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/posix.hpp"
#include "target.hpp"

namespace sherd::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> line_seeds(const fs::path& /*scratch*/) {
  return {R"({"text": "e2e4 e7e5 1-0", "id": 12, "more": [1, {"x": null}]})",
          R"({"a": "\ud83d\ude00é", "text": "\n"})"};
}

/// A line that is refused throws, for the driver to count. A document is the one that the JSON library finds.
void run_line(const std::string& input, const fs::path& /*scratch*/) {
  std::string document;
  const char* wrong = parse_line(TextFormat::jsonl, input, document);
  std::string expected;
  try {
    expected = JsonDocument::parse(input, "fuzzed").root().at("text").string();
  } catch (const Error&) {
    if (wrong != nullptr) throw;
    return;  // the library also refuses what it cannot represent, such as 1e999 or two equal keys
  }
  SHERD_CHECK(wrong == nullptr, "the library reads what was refused: {}", wrong);
  SHERD_CHECK(document == expected, "'{}' where the library reads '{}'", document, expected);
}

std::vector<std::string> tokenizer_seeds(const fs::path& scratch) {
  int left = 200;
  const std::string path = scratch / "tokenizer.model";
  train_tokenizer(
      [&](std::string& text) {
        text = "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 1-0";
        return left-- > 0;
      },
      48, path);
  return {read_text(path, 1 << 20)};
}

void run_tokenizer(const std::string& input, const fs::path& scratch) {
  const Tokenizer tokenizer(as_file(input, scratch).string());
  const std::vector<int> ids = tokenizer.encode("e2e4 e7e5 xyz");
  (void)tokenizer.decode(ids);
}

std::vector<std::string> corpus_seeds(const fs::path& scratch) {
  write_corpus(scratch / "corpus.h5", {{1, 2, 3}, {4, 5}, {6, 7, 8, 9}});
  return {read_text(scratch / "corpus.h5", 1 << 20)};
}

void run_corpus(const std::string& input, const fs::path& scratch) {
  const Corpus corpus(as_file(input, scratch).string());
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min<std::int64_t>(corpus.info().tokens, 4096)));
  corpus.for_each_document([](const Document&) {});
  corpus.verify_tokens();
  corpus.read_tokens(0, tokens);
}

}  // namespace

std::vector<FuzzTarget> data_targets() {
  return {{"lines", line_seeds, run_line},
          {"tokenizer", tokenizer_seeds, run_tokenizer},
          {"corpus", corpus_seeds, run_corpus}};
}

}  // namespace sherd::test
