#pragma once
// The corpus store: one HDF5 file, written once by `sherd prepare` and only read afterwards.
//   /tokens   (tokens)         uint16 when the tokenizer has at most 65536 pieces, else uint32; contiguous, no filters
//   /offsets  (documents + 1)  uint64: document d is tokens [offsets[d], offsets[d + 1])
//   attributes of /: format, documents, token_count, pieces, tokenizer_sha256, source, eval_fraction, split_seed,
//   tokens_crc32c, offsets_crc32c
// HDF5 only opens the file: it is not thread-safe, so tokens are read with pread at the datasets' places in the file.
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "sherd/base/rng.hpp"

namespace sherd {

enum class Split : std::uint8_t { train, eval };

struct CorpusInfo {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t pieces = 0;       // of the tokenizer: every token is below it
  std::string tokenizer_sha256;  // 64 hex digits, of the tokenizer.model that made the tokens
  std::string source;            // names of the input files
  double eval_fraction = 0.02;   // of the documents are held out
  std::uint64_t split_seed = 0;  // document d is held out when Random(split_seed, split, 0).uniform(d) < eval_fraction
  std::uint32_t tokens_crc32c = 0;  // of /tokens as it lies in the file
  std::uint32_t offsets_crc32c = 0;

  int token_bytes() const { return pieces <= 65536 ? 2 : 4; }
};

struct Document {
  std::int64_t index = 0, first_token = 0, tokens = 0;
};

/// A corpus open for reading. All functions are const and may be called from several threads.
class Corpus {
 public:
  /// Bad input when the file is missing, is no corpus, is shorter than its datasets, or is laid out in another way.
  explicit Corpus(std::string path);
  Corpus(Corpus&&) noexcept;
  ~Corpus();

  const CorpusInfo& info() const { return info_; }
  const std::string& path() const { return path_; }

  Split split_of(std::int64_t document) const;

  /// Tokens [first, first + out.size()); bad input when one is not below info().pieces.
  void read_tokens(std::int64_t first, std::span<std::int32_t> out) const;

  /// Every document in order; bad input when the offsets are not increasing or do not have their checksum.
  void for_each_document(const std::function<void(const Document&)>& visit) const;

  /// Reads all tokens; bad input when they do not have their checksum.
  void verify_tokens() const;

  /// Bad input when the corpus was made with another tokenizer than the one with this SHA-256.
  void require_tokenizer(const std::string& sha256, const std::string& tokenizer_path) const;
  /// Bad input when the corpus can hold tokens for which a model of `vocab_size` rows has no row.
  void require_vocab(std::int64_t vocab_size) const;

 private:
  struct Storage;  // the descriptor and the places of the two datasets

  std::string path_;
  CorpusInfo info_;
  std::unique_ptr<Storage> storage_;
  Random split_;
};

/// Writes a corpus whose sizes are known: tokens and offsets in any number of pieces, then commit(). The file appears
/// under its name when it is complete and on disk, and not before.
class CorpusWriter {
 public:
  CorpusWriter(const std::string& path, const CorpusInfo& info);  // the checksums are computed here
  CorpusWriter(CorpusWriter&&) noexcept;
  ~CorpusWriter();
  void append_tokens(std::span<const std::byte> tokens);  // of info.token_bytes() each, little-endian
  void append_offsets(std::span<const std::uint64_t> offsets);
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sherd
