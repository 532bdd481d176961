#include "sherd/io/export.hpp"

#include <algorithm>
#include <system_error>

#include "sherd/base/error.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/model/param_spec.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kTransferElements = 1 << 20;

void write_weights(ParamSource& source, const std::vector<TensorInfo>& tensors, const fs::path& directory,
                   std::int64_t max_file_bytes) {
  SafetensorsWriter writer(directory, tensors, max_file_bytes);
  std::vector<float> buffer;
  for (const TensorInfo& tensor : tensors) {
    std::int64_t elements = 1;
    for (const std::int64_t d : tensor.shape) elements *= d;
    for (std::int64_t first = 0; first < elements; first += kTransferElements) {
      buffer.resize(static_cast<std::size_t>(std::min(kTransferElements, elements - first)));
      source.read(tensor.name, ParamState::master, first, buffer);
      writer.append(buffer);
    }
  }
  writer.finish();
}

void write_config(const ModelConfig& config, DType dtype, const fs::path& directory) {
  File::create(directory / "config.json")
      .pwrite_all(to_config_json(config, dtype == DType::bf16 ? "bfloat16" : "float32"), 0);
}

void copy_tokenizer(const fs::path& from, const fs::path& directory) {
  if (from.empty()) return;
  std::error_code error;
  fs::copy_file(from, directory / "tokenizer.model", error);
  if (error) throw bad_input("{}: cannot copy the tokenizer: {}", from.string(), error.message());
}

}  // namespace

void export_model(ParamSource& source, const ModelConfig& config, const fs::path& output,
                  const ExportOptions& options) {
  if (fs::exists(output)) {
    throw bad_input("{}: exists already; choose another directory or remove it first", output.string());
  }
  std::vector<TensorInfo> tensors;
  for (const UnitSpec& unit : llama_units(config)) {
    for (const ParamSpec& spec : unit.params) {
      require_shape(source, "the source of the export", spec.name, spec.shape);
      tensors.push_back({spec.name, options.dtype, spec.shape});
    }
  }
  AtomicDirectory directory(output);
  copy_tokenizer(options.tokenizer, directory.work());
  write_config(config, options.dtype, directory.work());
  write_weights(source, tensors, directory.work(), options.max_file_bytes);
  directory.commit();
}

}  // namespace sherd
