#include <sentencepiece_trainer.h>

#include <algorithm>
#include <set>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

constexpr std::size_t kSampleBytes = std::size_t{16} << 20;
constexpr std::size_t kSentenceBytes = 4096;  // the trainer leaves out sentences above 4192 bytes

/// The texts as sentences: cut at line breaks and tabs, which are the trainer's own separators, and at spaces.
std::vector<std::string> sentences_of(const TextSource& next_text) {
  std::vector<std::string> sentences;
  std::size_t bytes = 0;
  for (std::string text; bytes < kSampleBytes && next_text(text);) {
    std::string_view rest = text;
    while (!rest.empty() && bytes < kSampleBytes) {
      std::size_t end = std::min({rest.find_first_of("\n\t\r"), rest.size(), kSentenceBytes});
      if (end == kSentenceBytes && end < rest.size()) {
        const std::size_t space = rest.substr(0, end).rfind(' ');
        if (space != std::string_view::npos && space > 0) end = space;
        while (end > 1 && (static_cast<unsigned char>(rest[end]) & 0xC0u) == 0x80u) --end;
      }
      if (end > 0) sentences.emplace_back(rest.substr(0, end));
      bytes += end;
      rest.remove_prefix(std::min(rest.size(), std::max<std::size_t>(end, 1)));
    }
  }
  return sentences;
}

std::int64_t distinct_characters(const std::vector<std::string>& sentences) {
  std::set<std::string_view> characters;
  for (const std::string_view sentence : sentences) {
    for (std::size_t i = 0, end = 0; i < sentence.size(); i = end) {
      for (end = i + 1; end < sentence.size() && (static_cast<unsigned char>(sentence[end]) & 0xC0u) == 0x80u;) ++end;
      characters.insert(sentence.substr(i, end - i));
    }
  }
  return narrow<std::int64_t>(characters.size());
}

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& all) : all_(all) {}
  bool done() const override { return at_ == all_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return all_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& all_;
  std::size_t at_ = 0;
};

}  // namespace

void train_tokenizer(const TextSource& next_text, std::int64_t vocab_size, const std::string& path) {
  const std::vector<std::string> sentences = sentences_of(next_text);
  if (sentences.empty()) throw bad_input("there is no text to train a tokenizer on");
  const std::int64_t characters = distinct_characters(sentences);
  constexpr std::int64_t kSpecial = 4;  // unk, bos, eos and the mark of a word's begin
  if (vocab_size < characters + kSpecial) {
    throw usage_error(
        "a tokenizer of {} pieces is too small for a text with {} different characters; ask for at least {}",
        vocab_size, characters, characters + kSpecial);
  }
  const bool bytes = vocab_size > 256 + characters + kSpecial;
  Sentences iterator(sentences);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      std::unordered_map<std::string, std::string>{{"model_type", "bpe"},
                                                   {"vocab_size", fmt::format("{}", vocab_size)},
                                                   {"hard_vocab_limit", "false"},
                                                   {"byte_fallback", bytes ? "true" : "false"},
                                                   {"character_coverage", "1.0"},
                                                   {"unk_id", "0"},
                                                   {"bos_id", "1"},
                                                   {"eos_id", "2"},
                                                   {"pad_id", "-1"},
                                                   {"split_digits", "false"},
                                                   {"split_by_number", "false"},
                                                   {"split_by_whitespace", "true"},
                                                   {"normalization_rule_name", "identity"},
                                                   {"remove_extra_whitespaces", "false"},
                                                   {"num_threads", "1"},
                                                   {"shuffle_input_sentence", "false"},
                                                   {"minloglevel", "3"}},
      &iterator, &model);
  if (!status.ok()) throw bad_input("a tokenizer of {} pieces cannot be trained: {}", vocab_size, status.ToString());
  AtomicFile file(path);
  file.file().pwrite_all(model, 0);
  file.commit();
}

}  // namespace sherd
