#include "sherd/data/corpus.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "corpus_layout.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/crc32c.hpp"
#include "sherd/file/hdf5.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

CorpusInfo read_info(const h5::File& file, const std::string& path) {
  if (!h5::has_attribute(file, layout::kFormat) || h5::read_string_attribute(file, layout::kFormat) != layout::kName) {
    throw bad_input("{}: an HDF5 file, but not a corpus of this program ('{}'); make one with sherd prepare", path,
                    layout::kName);
  }
  CorpusInfo info;
  info.documents = h5::read_int_attribute(file, layout::kDocuments);
  info.tokens = h5::read_int_attribute(file, layout::kTokenCount);
  info.pieces = h5::read_int_attribute(file, layout::kPieces);
  info.tokenizer_sha256 = h5::read_string_attribute(file, layout::kTokenizer);
  info.source = h5::read_string_attribute(file, layout::kSource);
  info.eval_fraction = h5::read_real_attribute(file, layout::kEvalFraction);
  info.split_seed = static_cast<std::uint64_t>(h5::read_int_attribute(file, layout::kSplitSeed));
  info.tokens_crc32c = static_cast<std::uint32_t>(h5::read_int_attribute(file, layout::kTokensCrc));
  info.offsets_crc32c = static_cast<std::uint32_t>(h5::read_int_attribute(file, layout::kOffsetsCrc));
  const bool fraction_is_sound = info.eval_fraction >= 0 && info.eval_fraction <= 1;
  if (info.documents < 1 || info.tokens < 1 || info.pieces < 1 || info.pieces > INT32_MAX || !fraction_is_sound) {
    throw bad_input("{}: {} documents, {} tokens of {} pieces, {} of them held out: not a corpus; prepare it again",
                    path, info.documents, info.tokens, info.pieces, info.eval_fraction);
  }
  return info;
}

std::int64_t require_elements(const h5::PlainDataset& dataset, std::int64_t expected, const char* name,
                              const std::string& path) {
  if (dataset.shape.size() == 1 && dataset.elements == expected) return dataset.offset;
  throw bad_input("{}: {} has {} elements, its attributes promise {}; prepare the corpus again", path, name,
                  dataset.elements, expected);
}

}  // namespace

struct Corpus::Storage {
  File file;
  std::int64_t tokens_at = 0, offsets_at = 0;  // bytes

  static std::unique_ptr<Storage> open(const std::string& path, CorpusInfo& info) {
    if (!std::filesystem::exists(path))
      throw bad_input("{}: there is no such corpus; make it with sherd prepare", path);
    auto storage = std::make_unique<Storage>(Storage{File::open_read(path)});
    const h5::File file = h5::open_file(path);
    info = read_info(file, path);
    const hid_t type = info.token_bytes() == 2 ? H5T_STD_U16LE : H5T_STD_U32LE;
    const auto tokens = h5::open_plain_dataset(file, layout::kTokens, {type}, path);
    const auto offsets = h5::open_plain_dataset(file, layout::kOffsets, {H5T_STD_U64LE}, path);
    storage->tokens_at = require_elements(tokens, info.tokens, layout::kTokens, path);
    storage->offsets_at = require_elements(offsets, checked_add(info.documents, 1), layout::kOffsets, path);
    return storage;
  }
};

Corpus::Corpus(std::string path)
    : path_(std::move(path)), storage_(Storage::open(path_, info_)), split_(info_.split_seed, Purpose::split, 0) {}
Corpus::Corpus(Corpus&&) noexcept = default;
Corpus::~Corpus() = default;

Split Corpus::split_of(std::int64_t document) const {
  const bool held_out = split_.uniform(static_cast<std::uint64_t>(document)) < info_.eval_fraction;
  return held_out ? Split::eval : Split::train;
}

template <class Stored>
static void widen(std::span<const std::byte> stored, std::span<std::int32_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored token = 0;
    std::memcpy(&token, stored.data() + i * sizeof token, sizeof token);
    out[i] = static_cast<std::int32_t>(token);
  }
}

void Corpus::read_tokens(std::int64_t first, std::span<std::int32_t> out) const {
  const auto count = narrow<std::int64_t>(out.size());
  SHERD_CHECK(first >= 0 && first <= info_.tokens - count, "tokens {} + {} of {}", first, count, info_.tokens);
  std::array<std::byte, 16384> buffer;  // on the stack: loader threads allocate nothing
  const auto width = static_cast<std::size_t>(info_.token_bytes());
  for (std::size_t at = 0; at < out.size();) {
    const auto part = out.subspan(at, std::min(out.size() - at, buffer.size() / width));
    const auto stored = std::span(buffer).first(part.size() * width);
    storage_->file.pread_all(stored, storage_->tokens_at + (first + narrow<std::int64_t>(at)) * info_.token_bytes());
    width == 2 ? widen<std::uint16_t>(stored, part) : widen<std::uint32_t>(stored, part);
    at += part.size();
  }
  for (const std::int32_t token : out) {
    if (token >= 0 && token < info_.pieces) continue;
    throw bad_input("{}: token {} of a tokenizer with {} pieces: damaged; prepare the corpus again", path_, token,
                    info_.pieces);
  }
}

void Corpus::for_each_document(const std::function<void(const Document&)>& visit) const {
  std::vector<std::uint64_t> offsets(std::min(kBufferBytes / 8, static_cast<std::size_t>(info_.documents) + 1));
  std::uint32_t crc = 0;
  std::uint64_t last = 0;
  for (std::int64_t read = 0; read <= info_.documents;) {
    const auto part =
        std::span(offsets).first(std::min(offsets.size(), static_cast<std::size_t>(info_.documents + 1 - read)));
    storage_->file.pread_all(std::as_writable_bytes(part), storage_->offsets_at + read * 8);
    crc = crc32c(std::as_bytes(part), crc);
    for (const std::uint64_t offset : part) {
      const bool ends_right = read < info_.documents || offset == static_cast<std::uint64_t>(info_.tokens);
      if ((read == 0 && offset != 0) || offset < last || offset > static_cast<std::uint64_t>(info_.tokens) ||
          !ends_right) {
        throw bad_input("{}: document {} begins at token {}, after {} and of {}: damaged; prepare the corpus again",
                        path_, read, offset, last, info_.tokens);
      }
      if (read > 0) {
        visit({read - 1, static_cast<std::int64_t>(last), static_cast<std::int64_t>(offset - last)});
      }
      last = offset;
      ++read;
    }
  }
  if (crc != info_.offsets_crc32c) {
    throw bad_input("{}: /offsets have checksum {:08x}, {:08x} was written: damaged; prepare the corpus again", path_,
                    crc, info_.offsets_crc32c);
  }
}

void Corpus::verify_tokens() const {
  std::vector<std::byte> buffer(kBufferBytes);
  const std::int64_t bytes = checked_mul(info_.tokens, info_.token_bytes());
  std::uint32_t crc = 0;
  for (std::int64_t at = 0; at < bytes;) {
    const auto part = std::span(buffer).first(std::min(buffer.size(), static_cast<std::size_t>(bytes - at)));
    storage_->file.pread_all(part, storage_->tokens_at + at);
    crc = crc32c(part, crc);
    at += narrow<std::int64_t>(part.size());
  }
  if (crc != info_.tokens_crc32c) {
    throw bad_input("{}: /tokens have checksum {:08x}, {:08x} was written: damaged; prepare the corpus again", path_,
                    crc, info_.tokens_crc32c);
  }
}

void Corpus::require_tokenizer(const std::string& sha256, const std::string& tokenizer_path) const {
  if (sha256 == info_.tokenizer_sha256) return;
  throw bad_input(
      "{}: made with another tokenizer (SHA-256 {:.12}...) than {} ({:.12}...): prepare the corpus with this "
      "one, or train with the one that made it",
      path_, info_.tokenizer_sha256, tokenizer_path, sha256);
}

void Corpus::require_vocab(std::int64_t vocab_size) const {
  if (info_.pieces <= vocab_size) return;
  throw bad_input(
      "{}: made with a tokenizer of {} pieces, and the model has rows for {}: take a model and a tokenizer "
      "that belong together",
      path_, info_.pieces, vocab_size);
}

}  // namespace sherd
