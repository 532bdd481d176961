#pragma once
// Writes safetensors as a stream: the list of tensors first, then their elements in order, so that memory stays one
// buffer whatever the model's size.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sherd/base/dtype.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

struct TensorInfo {
  std::string name;
  DType dtype = DType::bf16;  // f32 or bf16
  std::vector<std::int64_t> shape;
};

class SafetensorsWriter {
 public:
  static constexpr std::int64_t kFileBytes = 5'000'000'000;  // what the usual tools split at

  /// Into `directory`: model.safetensors, or, when the data exceed max_file_bytes, model-00001-of-0000N.safetensors ...
  /// and model.safetensors.index.json (a tensor is never split). Tensors keep their order; an f32 tensor must not
  /// follow an odd number of bf16 elements in one file.
  SafetensorsWriter(std::filesystem::path directory, std::vector<TensorInfo> tensors,
                    std::int64_t max_file_bytes = kFileBytes);
  /// The next elements, of as many tensors as they fill.
  void append(std::span<const float> elements);
  /// Every element must have been appended. The index is written last.
  void finish();

 private:
  struct Placed {
    std::int64_t elements, bytes;
    std::int64_t offset;  // in the data of its file
    std::size_t file;
  };
  void place(std::int64_t max_file_bytes);
  std::string file_name(std::size_t file) const;
  void open_file(std::size_t file);
  void write_elements(const TensorInfo& tensor, std::span<const float> elements);
  void commit_file();
  void write_index() const;

  std::filesystem::path directory_;
  std::vector<TensorInfo> tensors_;
  std::vector<Placed> placed_;
  std::size_t files_ = 0;
  std::optional<AtomicFile> out_;
  std::int64_t out_offset_ = 0;  // next byte of out_
  std::size_t next_tensor_ = 0;  // the tensor being filled
  std::int64_t next_element_ = 0;
  std::vector<bf16> buffer_;
};

}  // namespace sherd
