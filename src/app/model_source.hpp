#pragma once
// What a user points at when a model is asked for: a Hugging Face directory, the output directory of a run, or one
// checkpoint of it.
#include <filesystem>
#include <memory>
#include <string>

#include "sherd/config/model_config.hpp"
#include "sherd/io/param_source.hpp"

namespace sherd::app {

enum class PlaceKind { file, model, run, checkpoint };

/// Bad input when nothing is there, or a directory without model, run or checkpoint in it.
PlaceKind kind_of(const std::filesystem::path& path);

/// The directory that describes a model: of a checkpoint, the run's that wrote it.
std::filesystem::path home_of(const std::filesystem::path& path);

struct ModelSource {
  std::filesystem::path weights;  // the model's directory, or the checkpoint's: of a run, its newest good one
  std::filesystem::path home;     // holds config.json, and tokenizer.model if there is one
  ModelConfig config;
  std::unique_ptr<ParamSource> params;  // has every parameter of `config` in its shape
};
ModelSource open_model(const std::filesystem::path& path);

/// `asked`, or, if that is empty, the tokenizer.model in `home`; empty when there is none.
std::filesystem::path find_tokenizer(const ModelSource& source, const std::string& asked);

}  // namespace sherd::app
