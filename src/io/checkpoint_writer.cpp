#include <algorithm>
#include <system_error>

#include "checkpoint_names.hpp"
#include "manifest.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/crc32c.hpp"

namespace sherd {

namespace {

/// What `write` does, with the file's name before the library's message.
template <class Write>
void naming(const std::filesystem::path& path, Write&& write) {
  try {
    write();
  } catch (const Error& e) {
    throw Error(
        e.code(),
        fmt::format("{}: cannot write this checkpoint (earlier ones stay as they are): {}", path.string(), e.what()),
        e.where());
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(const std::filesystem::path& output, std::int64_t step, int rank)
    : unfinished_{work_directory(output, step) / RankFile{.rank = rank, .pieces = {}}.name()}, rank_(rank) {
  naming(unfinished_.path, [&] {
    file_ = h5::create_file(unfinished_.path);
    for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
      groups_.push_back(h5::create_group(file_, std::string(name_of(state))));
    }
  });
}

CheckpointWriter::~CheckpointWriter() = default;

CheckpointWriter::Unfinished::~Unfinished() {
  if (keep) return;
  std::error_code error;
  std::filesystem::resize_file(path, 0, error);  // the library may still hold it open, and with it the space
  std::filesystem::remove(path, error);
  if (error) log::warn("{}: cannot remove: {}", path.string(), error.message());
}

void CheckpointWriter::begin_piece(std::string_view name, std::span<const std::int64_t> shape, ParamState state,
                                   std::int64_t first, std::int64_t count) {
  SHERD_CHECK(!name.empty() && name.find('/') == std::string_view::npos, "a parameter named \"{}\"", name);
  SHERD_CHECK(count > 0, "{}: a piece of {} elements", name, count);
  end_piece();
  CheckpointPiece piece;
  piece.name = name;
  piece.state = state;
  piece.shape.assign(shape.begin(), shape.end());
  piece.first = first;
  piece.count = count;
  const std::int64_t length[] = {count};
  naming(unfinished_.path, [&] {
    dataset_ = h5::create_plain_dataset(file_, piece.dataset(), H5T_NATIVE_FLOAT, length);
    piece.offset = h5::file_offset(dataset_);
  });
  SHERD_CHECK(piece.offset > 0, "{}: {} has no place in the file", unfinished_.path.string(), piece.dataset());
  written_.push_back(std::move(piece));
  appended_ = 0;
}

void CheckpointWriter::append(std::span<const float> elements) {
  SHERD_CHECK(static_cast<bool>(dataset_), "no piece was begun");
  CheckpointPiece& piece = written_.back();
  const auto count = static_cast<std::int64_t>(elements.size());
  SHERD_CHECK(count <= piece.count - appended_, "{}: {} elements and {} more of {}", piece.name, appended_, count,
              piece.count);
  if (count == 0) return;
  naming(unfinished_.path, [&] { h5::write_range(dataset_, H5T_NATIVE_FLOAT, appended_, count, elements.data()); });
  while (!elements.empty()) {
    const std::int64_t into_block = appended_ % kBlockElements;
    if (into_block == 0) piece.crcs.push_back(0);
    const std::size_t n = std::min(elements.size(), static_cast<std::size_t>(kBlockElements - into_block));
    piece.crcs.back() = crc32c(std::as_bytes(elements.first(n)), piece.crcs.back());
    elements = elements.subspan(n);
    appended_ += static_cast<std::int64_t>(n);
  }
}

void CheckpointWriter::add(std::string_view name, std::span<const std::int64_t> shape, ParamState state,
                           std::int64_t first, std::span<const float> elements) {
  if (elements.empty()) return;
  begin_piece(name, shape, state, first, static_cast<std::int64_t>(elements.size()));
  append(elements);
}

void CheckpointWriter::end_piece() {
  if (!dataset_) return;
  SHERD_CHECK(appended_ == written_.back().count, "{}: {} elements of {}", written_.back().name, appended_,
              written_.back().count);
  naming(unfinished_.path, [&] { dataset_.close(); });
}

std::string CheckpointWriter::finish() {
  end_piece();
  RankFile part;
  part.rank = rank_;
  part.pieces = std::move(written_);
  std::sort(part.pieces.begin(), part.pieces.end(),
            [](const CheckpointPiece& a, const CheckpointPiece& b) { return a.offset < b.offset; });
  naming(unfinished_.path, [&] {
    groups_.clear();
    file_.close();
    const File file = File::open_read(unfinished_.path);
    part.bytes = file.size();
    part.rest_crc = crc_of_rest(file, part.bytes, part.pieces);
    file.fsync();
  });
  unfinished_.keep = true;
  return part.to_json();
}

}  // namespace sherd
