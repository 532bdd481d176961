#pragma once
// Hugging Face models: one model.safetensors, or several with model.safetensors.index.json. Read with pread, only the
// elements asked for. Format (https://github.com/huggingface/safetensors): u64 little-endian N; N bytes of JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}; the data, offsets counted from
// there.
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/file/posix.hpp"
#include "sherd/io/param_source.hpp"

namespace sherd {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as the file spells it: "BF16"
  std::vector<std::int64_t> shape;
  std::int64_t elements = 0;
  std::int64_t offset = 0;  // of the first byte, from the beginning of the file
  std::int64_t bytes = 0;
};

/// The longest header that is read. The format allows 100 MB; real ones stay below 1 MB, and the Hub's own client
/// stops at this many.
inline constexpr std::int64_t kSafetensorsHeaderLimit = 25'000'000;

/// The tensors of a file, by offset. bad_input unless the header is well-formed, has no duplicate names, every size is
/// that of dtype x shape, and the tensors cover the data exactly, without holes or overlaps, to the last byte of the
/// file.
std::vector<SafetensorsEntry> read_safetensors_header(const File& file);

class SafetensorsModel : public ParamSource {
 public:
  struct Options {
    bool tied_embeddings = false;  // lm_head.weight, if absent, is model.embed_tokens.weight
  };
  /// A .safetensors file, or a directory with model.safetensors or model.safetensors.index.json.
  explicit SafetensorsModel(const std::filesystem::path& path) : SafetensorsModel(path, Options()) {}
  SafetensorsModel(const std::filesystem::path& path, Options options);

  std::vector<std::int64_t> shape(std::string_view name) const override;
  bool has(std::string_view name, ParamState state) const override;
  /// f32, bf16 and f16 are read; bad_input for other stored types. Memory: one buffer of 8 MiB.
  void read(std::string_view name, ParamState state, std::int64_t first, std::span<float> out) override;

  std::vector<std::string> names() const;                  // sorted; without rotary_emb.inv_freq, which old files carry
  std::int64_t bytes_read() const { return bytes_read_; }  // of tensor data, since construction
  std::int64_t data_bytes() const;                         // of all named tensors

 private:
  struct Location {
    std::size_t file;
    SafetensorsEntry entry;
  };
  void add_file(const std::filesystem::path& path);
  void add_indexed_files(const std::filesystem::path& index);
  const Location& find(std::string_view name) const;

  std::filesystem::path path_;
  Options options_;
  std::vector<File> files_;
  std::map<std::string, Location, std::less<>> tensors_;
  std::vector<std::byte> buffer_;
  std::int64_t bytes_read_ = 0;
};

}  // namespace sherd
