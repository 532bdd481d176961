#pragma once
// A model as a Hugging Face directory, from any source of parameters: config.json, model*.safetensors, tokenizer.model.
#include <cstdint>
#include <filesystem>

#include "sherd/base/dtype.hpp"
#include "sherd/config/model_config.hpp"
#include "sherd/io/param_source.hpp"
#include "sherd/io/safetensors_writer.hpp"

namespace sherd {

struct ExportOptions {
  DType dtype = DType::bf16;        // of every tensor: bf16 or f32
  std::filesystem::path tokenizer;  // copied as tokenizer.model; empty: none
  std::int64_t max_file_bytes = SafetensorsWriter::kFileBytes;
};

/// Writes the masters to `output`, which must not exist yet: it appears when everything in it is on the disk. Memory: a
/// few MiB. bad_input if the source lacks a parameter of `config` or has it in another shape.
void export_model(ParamSource& source, const ModelConfig& config, const std::filesystem::path& output,
                  const ExportOptions& options);

}  // namespace sherd
