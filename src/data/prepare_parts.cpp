#include "prepare_parts.hpp"

#include <algorithm>
#include <cstring>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kBufferBytes = std::int64_t{4} << 20;

fs::path tokens_path(const fs::path& directory, std::int64_t rank) {
  return directory / fmt::format("{:05}.tokens", rank);
}
fs::path lengths_path(const fs::path& directory, std::int64_t rank) {
  return directory / fmt::format("{:05}.lengths", rank);
}

/// The bytes of a file in pieces of at most kBufferBytes.
void for_each_piece(const fs::path& path, std::int64_t bytes,
                    const std::function<void(std::span<const std::byte>)>& use) {
  const File file = File::open_read(path);
  file.advise_sequential();
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(bytes, kBufferBytes)));
  for (std::int64_t at = 0; at < bytes;) {
    const auto piece = std::span(buffer).first(static_cast<std::size_t>(std::min(bytes - at, kBufferBytes)));
    file.pread_all(piece, at);
    use(piece);
    at += narrow<std::int64_t>(piece.size());
  }
}

}  // namespace

std::vector<PartCounts> gather_counts(const PartCounts& mine, Exchange& peers) {
  const std::vector<std::string> all = peers.all_gather({reinterpret_cast<const char*>(&mine), sizeof mine});
  std::vector<PartCounts> counts(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    SHERD_CHECK(all[i].size() == sizeof mine, "{} bytes of counts from rank {}", all[i].size(), i);
    std::memcpy(&counts[i], all[i].data(), sizeof mine);
  }
  return counts;
}

PartsDirectory::PartsDirectory(const fs::path& output, Exchange& peers) : owner_(peers.rank() == 0) {
  fs::path chosen;
  together(peers, [&] {
    if (!owner_) return;
    chosen = temporary_name(output);
    std::error_code error;
    fs::create_directories(chosen, error);
    if (error) throw bad_input("{}: cannot create the directory: {}", chosen.string(), error.message());
  });
  path_ = peers.all_gather(chosen.string()).front();
}

PartsDirectory::~PartsDirectory() {
  if (!owner_) return;
  std::error_code error;
  fs::remove_all(path_, error);
  if (error) log::warn("{}: cannot remove: {}", path_.string(), error.message());
}

PartWriter::PartWriter(const fs::path& directory, int rank)
    : tokens_(File::create(tokens_path(directory, rank))), lengths_(File::create(lengths_path(directory, rank))) {}

void PartWriter::append(const EncodedBlock& block) {
  const auto lengths = std::as_bytes(std::span(block.lengths));
  tokens_.pwrite_all(block.tokens, tokens_at_);
  lengths_.pwrite_all(lengths, lengths_at_);
  tokens_at_ += narrow<std::int64_t>(block.tokens.size());
  lengths_at_ += narrow<std::int64_t>(lengths.size());
  counts_.documents += narrow<std::int64_t>(block.lengths.size());
  for (const std::uint32_t length : block.lengths) counts_.tokens += length;
  counts_.bad_lines += block.bad_lines;
}

PartCounts PartWriter::finish() {
  tokens_.close();
  lengths_.close();
  return counts_;
}

void join_parts(const fs::path& directory, const std::vector<PartCounts>& parts, const std::string& output,
                const CorpusInfo& info) {
  CorpusWriter writer(output, info);
  const auto ranks = narrow<std::int64_t>(parts.size());
  std::vector<std::uint64_t> offsets{0};
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const PartCounts& part = parts[static_cast<std::size_t>(rank)];
    for_each_piece(tokens_path(directory, rank), checked_mul(part.tokens, info.token_bytes()),
                   [&](std::span<const std::byte> tokens) { writer.append_tokens(tokens); });
    for_each_piece(lengths_path(directory, rank), checked_mul(part.documents, 4),
                   [&](std::span<const std::byte> piece) {
                     for (std::size_t i = 0; i < piece.size(); i += 4) {
                       std::uint32_t length = 0;
                       std::memcpy(&length, piece.data() + i, sizeof length);
                       offsets.push_back(offsets.back() + length);
                     }
                     const std::uint64_t last = offsets.back();
                     offsets.pop_back();
                     writer.append_offsets(offsets);
                     offsets.assign(1, last);
                   });
  }
  writer.append_offsets(offsets);
  writer.commit();
}

}  // namespace sherd
