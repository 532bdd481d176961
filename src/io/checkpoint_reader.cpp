#include <algorithm>
#include <cstring>

#include "manifest.hpp"
#include "sherd/base/error.hpp"
#include "sherd/file/crc32c.hpp"
#include "text.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kChunk = 1 << 20;  // bytes, of what is only checksummed

std::uint32_t crc_of_range(const File& file, std::int64_t begin, std::int64_t end, std::uint32_t before) {
  std::vector<std::byte> buffer;
  while (begin < end) {
    buffer.resize(static_cast<std::size_t>(std::min(kChunk, end - begin)));
    file.pread_all(buffer, begin);
    before = crc32c(buffer, before);
    begin += static_cast<std::int64_t>(buffer.size());
  }
  return before;
}

}  // namespace

std::uint32_t crc_of_rest(const File& file, std::int64_t bytes, const std::vector<CheckpointPiece>& pieces) {
  std::uint32_t crc = 0;
  std::int64_t begin = 0;
  for (const CheckpointPiece& piece : pieces) {
    crc = crc_of_range(file, begin, piece.offset, crc);
    begin = piece.offset + piece.bytes();
  }
  return crc_of_range(file, begin, bytes, crc);
}

std::uint32_t crc_of_file(const File& file) {
  return crc_of_range(file, 0, file.size(), 0);
}

struct CheckpointReader::Impl {
  explicit Impl(std::filesystem::path path)
      : directory(std::move(path)), manifest(Manifest::load(directory / kManifestName)) {}

  File& open(std::size_t index);
  void read_block(const Manifest::Location& at, std::int64_t block, std::span<float> out);
  void read_piece(const Manifest::Location& at, std::int64_t first, std::span<float> out);
  const Manifest::Parameter& find(std::string_view name) const;
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, parameter] : manifest.parameters) all.push_back(name);
    return all;
  }

  std::filesystem::path directory;
  Manifest manifest;
  std::vector<std::optional<File>> files;  // by rank, opened when first needed
  std::vector<float> buffer;               // the block last verified for a part of it
  const CheckpointPiece* buffered = nullptr;
  std::int64_t buffered_block = 0;
  std::int64_t bytes_read = 0;
};

/// The file of a rank; when it is opened, all that is not tensor data in it is verified.
File& CheckpointReader::Impl::open(std::size_t index) {
  std::optional<File>& slot = files[index];
  if (slot) return *slot;
  const RankFile& expected = manifest.files[index];
  File file = File::open_read(directory / expected.name());
  if (crc_of_rest(file, expected.bytes, expected.pieces) != expected.rest_crc) {
    throw bad_input("{}: damaged: the checksum of its structure does not match; use an older checkpoint",
                    file.path().string());
  }
  slot = std::move(file);
  return *slot;
}

/// The whole of a block, verified.
void CheckpointReader::Impl::read_block(const Manifest::Location& at, std::int64_t block, std::span<float> out) {
  const File& file = open(at.file);
  const std::int64_t offset = at.piece.offset + block * kBlockElements * 4;
  file.pread_all(std::as_writable_bytes(out), offset);
  bytes_read += static_cast<std::int64_t>(out.size_bytes());
  if (crc32c(std::as_bytes(out)) == at.piece.crcs[static_cast<std::size_t>(block)]) return;
  throw bad_input("{}: damaged: the checksum of {} ({}) at byte {} does not match; use an older checkpoint",
                  file.path().string(), at.piece.name, name_of(at.piece.state), offset);
}

/// `first` counts from the piece's first element.
void CheckpointReader::Impl::read_piece(const Manifest::Location& at, std::int64_t first, std::span<float> out) {
  while (!out.empty()) {
    const std::int64_t block = first / kBlockElements, skip = first % kBlockElements;
    const std::int64_t length = std::min(kBlockElements, at.piece.count - block * kBlockElements);
    const auto n = std::min(out.size(), static_cast<std::size_t>(length - skip));
    if (static_cast<std::int64_t>(n) == length) {
      read_block(at, block, out.first(n));
    } else {
      if (buffered != &at.piece || buffered_block != block) {
        buffered = nullptr;
        buffer.resize(static_cast<std::size_t>(length));
        read_block(at, block, buffer);
        buffered = &at.piece;
        buffered_block = block;
      }
      std::memcpy(out.data(), buffer.data() + skip, n * sizeof(float));
    }
    out = out.subspan(n);
    first += static_cast<std::int64_t>(n);
  }
}

const Manifest::Parameter& CheckpointReader::Impl::find(std::string_view name) const {
  const auto it = manifest.parameters.find(name);
  if (it != manifest.parameters.end()) return it->second;
  throw bad_input("{}: there is no parameter {}{}", directory.string(), name, did_you_mean(name, names()));
}

CheckpointReader::CheckpointReader(const std::filesystem::path& directory) : impl_(std::make_unique<Impl>(directory)) {
  const Manifest& manifest = impl_->manifest;
  impl_->files.resize(manifest.files.size());
  const auto expect_size = [&](std::string_view name, std::int64_t expected) {
    const std::int64_t found = File::open_read(directory / name).size();
    if (found == expected) return;
    throw bad_input("{}: {} bytes, the manifest promises {}; use an older checkpoint", (directory / name).string(),
                    found, expected);
  };
  for (const RankFile& file : manifest.files) expect_size(file.name(), file.bytes);
  expect_size(kIndexName, manifest.index_bytes);
}

CheckpointReader::~CheckpointReader() = default;

const CheckpointMetadata& CheckpointReader::metadata() const {
  return impl_->manifest.metadata;
}
std::vector<std::string> CheckpointReader::names() const {
  return impl_->names();
}
std::int64_t CheckpointReader::bytes_read() const {
  return impl_->bytes_read;
}
std::vector<std::int64_t> CheckpointReader::shape(std::string_view name) const {
  return impl_->find(name).shape;
}

bool CheckpointReader::has(std::string_view name, ParamState state) const {
  const auto it = impl_->manifest.parameters.find(name);
  return it != impl_->manifest.parameters.end() && !it->second.pieces[static_cast<std::size_t>(state)].empty();
}

void CheckpointReader::read(std::string_view name, ParamState state, std::int64_t first, std::span<float> out) {
  const auto& pieces = impl_->find(name).pieces[static_cast<std::size_t>(state)];
  if (pieces.empty()) {
    throw bad_input("{}: holds no {} of {}", impl_->directory.string(), name_of(state), name);
  }
  const auto count = static_cast<std::int64_t>(out.size()), elements = pieces.back().piece.end();
  SHERD_CHECK(first >= 0 && count <= elements && first <= elements - count, "{}: elements {} + {} of {}", name, first,
              count, elements);
  auto at = std::upper_bound(pieces.begin(), pieces.end(), first,
                             [](std::int64_t e, const Manifest::Location& l) { return e < l.piece.end(); });
  for (; !out.empty(); ++at) {
    const auto n = std::min(out.size(), static_cast<std::size_t>(at->piece.end() - first));
    impl_->read_piece(*at, first - at->piece.first, out.first(n));
    out = out.subspan(n);
    first += static_cast<std::int64_t>(n);
  }
}

void CheckpointReader::verify(ParamState state) {
  std::vector<float> block;
  for (std::size_t i = 0; i < impl_->manifest.files.size(); ++i) {
    impl_->open(i);
    for (const CheckpointPiece& piece : impl_->manifest.files[i].pieces) {
      if (piece.state != state) continue;
      for (std::size_t b = 0; b < piece.crcs.size(); ++b) {
        const auto first = static_cast<std::int64_t>(b) * kBlockElements;
        block.resize(static_cast<std::size_t>(std::min(kBlockElements, piece.count - first)));
        impl_->read_block({i, piece}, static_cast<std::int64_t>(b), block);
      }
    }
  }
}

void CheckpointReader::verify() {
  for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) verify(state);
  const File index = File::open_read(impl_->directory / kIndexName);
  if (crc_of_file(index) != impl_->manifest.index_crc) {
    throw bad_input("{}: damaged: its checksum does not match", index.path().string());
  }
}

}  // namespace sherd
