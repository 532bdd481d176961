#include <filesystem>

#include "corpus_layout.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/file/crc32c.hpp"
#include "sherd/file/hdf5.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

struct CorpusWriter::State {
  std::filesystem::path path, temporary;
  CorpusInfo info;
  h5::File file;
  h5::Dataset tokens, offsets;
  std::int64_t tokens_written = 0, offsets_written = 0;
  bool committed = false;

  State(const std::string& name, CorpusInfo what)
      : path(name), temporary(temporary_name(path)), info(std::move(what)) {}
  State(const State&) = delete;
  ~State() {
    if (committed) return;
    tokens = {};  // the file last: it closes what is still open in it
    offsets = {};
    file = {};
    std::error_code error;
    std::filesystem::remove(temporary, error);
    if (error) log::warn("{}: cannot remove: {}", temporary.string(), error.message());
  }

  hid_t token_type() const { return info.token_bytes() == 2 ? H5T_STD_U16LE : H5T_STD_U32LE; }
};

CorpusWriter::CorpusWriter(const std::string& path, const CorpusInfo& info)
    : state_(std::make_unique<State>(path, info)) {
  SHERD_CHECK(info.documents > 0 && info.tokens > 0, "{} documents, {} tokens", info.documents, info.tokens);
  State& s = *state_;
  File::create(s.temporary);  // an Error with the system's own words if that is not possible
  s.file = h5::create_file(s.temporary);
  const std::int64_t offsets = checked_add(info.documents, 1);
  s.tokens = h5::create_plain_dataset(s.file, layout::kTokens, s.token_type(), std::span(&info.tokens, 1));
  s.offsets = h5::create_plain_dataset(s.file, layout::kOffsets, H5T_STD_U64LE, std::span(&offsets, 1));
}
CorpusWriter::CorpusWriter(CorpusWriter&&) noexcept = default;
CorpusWriter::~CorpusWriter() = default;

void CorpusWriter::append_tokens(std::span<const std::byte> tokens) {
  State& s = *state_;
  const std::int64_t count = div_exact(narrow<std::int64_t>(tokens.size()), s.info.token_bytes());
  if (count == 0) return;
  h5::write_range(s.tokens, s.token_type(), s.tokens_written, count, tokens.data());
  s.info.tokens_crc32c = crc32c(tokens, s.info.tokens_crc32c);
  s.tokens_written += count;
}

void CorpusWriter::append_offsets(std::span<const std::uint64_t> offsets) {
  State& s = *state_;
  const auto count = narrow<std::int64_t>(offsets.size());
  if (count == 0) return;
  h5::write_range(s.offsets, H5T_STD_U64LE, s.offsets_written, count, offsets.data());
  s.info.offsets_crc32c = crc32c(std::as_bytes(offsets), s.info.offsets_crc32c);
  s.offsets_written += count;
}

void CorpusWriter::commit() {
  State& s = *state_;
  const CorpusInfo& info = s.info;
  SHERD_CHECK(s.tokens_written == info.tokens && s.offsets_written == info.documents + 1,
              "{} of {} tokens, {} of {} offsets", s.tokens_written, info.tokens, s.offsets_written,
              info.documents + 1);
  h5::write_attribute(s.file, layout::kFormat, std::string_view(layout::kName));
  h5::write_attribute(s.file, layout::kDocuments, info.documents);
  h5::write_attribute(s.file, layout::kTokenCount, info.tokens);
  h5::write_attribute(s.file, layout::kPieces, info.pieces);
  h5::write_attribute(s.file, layout::kTokenizer, std::string_view(info.tokenizer_sha256));
  h5::write_attribute(s.file, layout::kSource, std::string_view(info.source));
  h5::write_attribute(s.file, layout::kEvalFraction, info.eval_fraction);
  h5::write_attribute(s.file, layout::kSplitSeed, static_cast<std::int64_t>(info.split_seed));
  h5::write_attribute(s.file, layout::kTokensCrc, std::int64_t{info.tokens_crc32c});
  h5::write_attribute(s.file, layout::kOffsetsCrc, std::int64_t{info.offsets_crc32c});
  s.tokens.close();
  s.offsets.close();
  s.file.close();
  fsync_file(s.temporary);
  rename_durably(s.temporary, s.path);
  s.committed = true;
}

}  // namespace sherd
