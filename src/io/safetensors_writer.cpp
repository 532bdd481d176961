#include "sherd/io/safetensors_writer.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/json.hpp"
#include "sherd/io/convert.hpp"
#include "text.hpp"

namespace sherd {
namespace {

constexpr std::size_t kBufferElements = std::size_t{4} << 20;

std::string_view stored_name(DType t) {
  return t == DType::bf16 ? "BF16" : "F32";
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path directory, std::vector<TensorInfo> tensors,
                                     std::int64_t max_file_bytes)
    : directory_(std::move(directory)), tensors_(std::move(tensors)) {
  SHERD_CHECK(!tensors_.empty(), "a model without tensors");
  place(max_file_bytes);
}

void SafetensorsWriter::place(std::int64_t max_file_bytes) {
  std::int64_t offset = 0;
  files_ = 1;
  for (const TensorInfo& tensor : tensors_) {
    SHERD_CHECK(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16, "{}: only f32 and bf16 are written",
                tensor.name);
    Placed placed{1, 0, 0, 0};
    for (const std::int64_t d : tensor.shape) placed.elements = checked_mul(placed.elements, d);
    SHERD_CHECK(placed.elements > 0, "{}: no elements", tensor.name);
    const auto size = static_cast<std::int64_t>(size_of(tensor.dtype));
    placed.bytes = checked_mul(placed.elements, size);
    if (offset > 0 && checked_add(offset, placed.bytes) > max_file_bytes) ++files_, offset = 0;
    SHERD_CHECK(offset % size == 0, "{}: f32 at byte {}", tensor.name, offset);
    placed.offset = offset;
    placed.file = files_ - 1;
    offset += placed.bytes;
    placed_.push_back(placed);
  }
}

std::string SafetensorsWriter::file_name(std::size_t file) const {
  if (files_ == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", file + 1, files_);
}

void SafetensorsWriter::open_file(std::size_t file) {
  std::string header = R"({"__metadata__":{"format":"pt"})";  // the usual loaders want to be told of a framework
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (placed_[i].file != file) continue;
    header += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_quote(tensors_[i].name),
                          stored_name(tensors_[i].dtype), joined(tensors_[i].shape), placed_[i].offset,
                          placed_[i].offset + placed_[i].bytes);
  }
  header += '}';
  header.resize(static_cast<std::size_t>(round_up(static_cast<std::int64_t>(header.size()), 8)), ' ');
  const std::uint64_t length = header.size();
  out_.emplace(directory_ / file_name(file));
  out_->file().pwrite_all(std::as_bytes(std::span(&length, 1)), 0);
  out_->file().pwrite_all(header, sizeof length);
  out_offset_ = static_cast<std::int64_t>(sizeof length + header.size());
}

void SafetensorsWriter::append(std::span<const float> elements) {
  while (!elements.empty()) {
    SHERD_CHECK(next_tensor_ < tensors_.size(), "{} elements more than the tensors have", elements.size());
    const Placed& placed = placed_[next_tensor_];
    if (!out_) open_file(placed.file);
    const auto room = static_cast<std::size_t>(placed.elements - next_element_);
    const std::size_t n = std::min(room, elements.size());
    write_elements(tensors_[next_tensor_], elements.first(n));
    elements = elements.subspan(n);
    next_element_ += static_cast<std::int64_t>(n);
    if (n < room) continue;
    next_element_ = 0;
    ++next_tensor_;
    if (next_tensor_ == tensors_.size() || placed_[next_tensor_].file != placed.file) commit_file();
  }
}

void SafetensorsWriter::write_elements(const TensorInfo& tensor, std::span<const float> elements) {
  while (!elements.empty()) {
    const std::span<const float> part = elements.first(std::min(elements.size(), kBufferElements));
    std::span<const std::byte> bytes = std::as_bytes(part);
    if (tensor.dtype == DType::bf16) {
      buffer_.resize(std::max(buffer_.size(), part.size()));
      f32_to_bf16(part, std::span(buffer_).first(part.size()));
      bytes = std::as_bytes(std::span(buffer_).first(part.size()));
    }
    out_->file().pwrite_all(bytes, out_offset_);
    out_offset_ += static_cast<std::int64_t>(bytes.size());
    elements = elements.subspan(part.size());
  }
}

void SafetensorsWriter::commit_file() {
  out_->commit();
  out_.reset();
}

void SafetensorsWriter::finish() {
  SHERD_CHECK(next_tensor_ == tensors_.size() && !out_, "tensor {} has {} elements of {}", next_tensor_, next_element_,
              next_tensor_ < tensors_.size() ? placed_[next_tensor_].elements : 0);
  if (files_ > 1) write_index();
}

void SafetensorsWriter::write_index() const {
  std::int64_t total = 0;
  std::string map;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    total += placed_[i].bytes;
    map +=
        fmt::format("{}    {}: \"{}\"", i == 0 ? "" : ",\n", json_quote(tensors_[i].name), file_name(placed_[i].file));
  }
  AtomicFile index(directory_ / "model.safetensors.index.json");
  index.file().pwrite_all(
      fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{\n{}\n  }}\n}}\n", total, map), 0);
  index.commit();
}

}  // namespace sherd
