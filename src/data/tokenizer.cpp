#include "sherd/data/tokenizer.hpp"

#include <sentencepiece_processor.h>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/digest.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kMaxModelBytes = std::int64_t{64} << 20;  // Llama's is 0.5 MB, the largest known 5 MB
constexpr std::size_t kSegment = std::size_t{64} << 10;          // the library needs about 200 bytes per byte of text

/// Where to cut a long text at or before `limit`: at a single space between words (the library puts a space before
/// every text, so the pieces are those of the whole), else between two characters.
std::size_t cut_before(std::string_view text, std::size_t limit) {
  for (std::size_t i = limit; i > limit / 2; --i) {
    if (text[i] == ' ' && text[i - 1] != ' ' && i + 1 < text.size() && text[i + 1] != ' ') return i;
  }
  std::size_t i = limit;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0u) == 0x80u) --i;
  return i > 0 ? i : limit;
}

}  // namespace

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
};

Tokenizer::Tokenizer(const std::string& path) : path_(path), model_(std::make_unique<Model>()) {
  const std::string bytes = read_text(path, kMaxModelBytes);
  check_tokenizer_model(bytes, path);
  const auto status = model_->processor.LoadFromSerializedProto(bytes);
  if (!status.ok()) throw bad_input("{}: not a usable sentencepiece model: {}", path, status.ToString());
  sha256_ = sha256_hex(bytes);
}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

void Tokenizer::encode(std::string_view text, std::vector<int>& out) const {
  std::vector<int> ids;
  while (!text.empty()) {
    const std::size_t end = text.size() <= kSegment ? text.size() : cut_before(text, kSegment);
    const auto status = model_->processor.Encode(absl::string_view(text.data(), end), &ids);
    SHERD_CHECK(status.ok(), "sentencepiece: {}", status.ToString());
    out.insert(out.end(), ids.begin(), ids.end());
    text.remove_prefix(end < text.size() && text[end] == ' ' ? end + 1 : end);
  }
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  encode(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int> ids) const {
  for (const int id : ids) {
    if (id < 0 || id >= pieces()) {
      throw bad_input("token {} is not one of the {} pieces of {}: the model and the tokenizer do not belong together",
                      id, pieces(), path_);
    }
  }
  std::string text;
  const auto status = model_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
  SHERD_CHECK(status.ok(), "sentencepiece: {}", status.ToString());
  return text;
}

std::int64_t Tokenizer::pieces() const {
  return model_->processor.GetPieceSize();
}
int Tokenizer::bos_id() const {
  return model_->processor.bos_id();
}
int Tokenizer::eos_id() const {
  return model_->processor.eos_id();
}

std::string Tokenizer::piece(int id) const {
  SHERD_CHECK(id >= 0 && id < pieces(), "piece {} of {}", id, pieces());
  return model_->processor.IdToPiece(id);
}

void Tokenizer::require_vocab(std::int64_t vocab_size) const {
  if (pieces() <= vocab_size) return;
  throw bad_input(
      "{} has {} pieces and the model has rows for {}: take the tokenizer that came with the model, or set "
      "vocab_size in its config.json when training from scratch",
      path_, pieces(), vocab_size);
}

}  // namespace sherd
