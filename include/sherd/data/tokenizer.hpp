#pragma once
// Tokenizer: sentencepiece, behind one class. A tokenizer.model is read once, checked before the library sees it, and
// known by its SHA-256 from then on (the corpus records which tokenizer made it).
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

class Tokenizer {
 public:
  /// Bad input when the file is missing, larger than 64 MiB, or no sentencepiece model.
  explicit Tokenizer(const std::string& path);
  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Appends the pieces of `text` (UTF-8), without bos and eos. Safe from several threads.
  void encode(std::string_view text, std::vector<int>& out) const;
  std::vector<int> encode(std::string_view text) const;
  /// Bad input when an id is not in [0, pieces()).
  std::string decode(std::span<const int> ids) const;

  std::int64_t pieces() const;
  int bos_id() const;  // -1: the model has none
  int eos_id() const;  // -1: the model has none
  std::string piece(int id) const;
  const std::string& sha256() const { return sha256_; }  // 64 hex digits, of the file
  const std::string& path() const { return path_; }

  /// Bad input when there are more pieces than a model of `vocab_size` rows has.
  void require_vocab(std::int64_t vocab_size) const;

 private:
  struct Model;
  std::string path_, sha256_;
  std::unique_ptr<Model> model_;
};

/// Gives the next text to train on, or false at the end. Called from one thread.
using TextSource = std::function<bool(std::string& text)>;

/// Trains a byte-pair tokenizer with unk 0, bos 1, eos 2 and identity normalisation, as Llama's, and writes it to
/// `path` (whole or not at all). At most 16 MiB of text are kept. Deterministic. Moves such as "e2e4" may become one
/// piece: text is cut at white space only. Characters without a piece become bytes when the vocabulary has room for the
/// 256 of them. The result has fewer than `vocab_size` pieces when the text has no more to give. Usage error when
/// vocab_size is too small for the characters of the text.
void train_tokenizer(const TextSource& next_text, std::int64_t vocab_size, const std::string& path);

/// Throws bad input unless `bytes` has the outline of a sentencepiece ModelProto: the library trusts its input, and
/// other tokenizers also come in files called tokenizer.model.
void check_tokenizer_model(std::string_view bytes, const std::string& path);

}  // namespace sherd
