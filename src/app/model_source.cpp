#include "model_source.hpp"

#include <system_error>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/io/checkpoint.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/model/param_spec.hpp"

namespace sherd::app {
namespace {

namespace fs = std::filesystem;

/// The newest checkpoint of a run whose weights have their checksums; those that have not are warned about.
fs::path newest_whole(const fs::path& run) {
  const std::vector<fs::path> checkpoints = list_checkpoints(run);
  for (const fs::path& checkpoint : checkpoints) {
    try {
      CheckpointReader(checkpoint).verify(ParamState::master);
      return checkpoint;
    } catch (const Error& e) {
      if (checkpoint == checkpoints.back()) throw bad_input("{}; no good checkpoint is left", e.what());
      log::warn("{}; trying the next older checkpoint", e.what());
    }
  }
  throw bad_input("{}: no usable checkpoint is there; let `sherd train` write one, or name a model", run.string());
}

/// A Hugging Face directory or a checkpoint: one set of weights, whole.
fs::path weights_of(const fs::path& path) {
  switch (kind_of(path)) {
    case PlaceKind::model:
    case PlaceKind::checkpoint:
      return path;
    case PlaceKind::run:
      return newest_whole(path);
    case PlaceKind::file:
      break;
  }
  throw bad_input("{}: this is a file; a model's directory, a run's output or a checkpoint's directory is expected",
                  path.string());
}

std::unique_ptr<ParamSource> open_weights(const fs::path& weights, const ModelConfig& config) {
  if (kind_of(weights) == PlaceKind::checkpoint) return std::make_unique<CheckpointReader>(weights);
  SafetensorsModel::Options options;
  options.tied_embeddings = config.tied_embeddings;
  return std::make_unique<SafetensorsModel>(weights, options);
}

}  // namespace

PlaceKind kind_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw bad_input("{}: {}; a file or directory is expected", path.string(),
                    error ? error.message() : "No such file or directory");
  }
  if (!fs::is_directory(status)) return PlaceKind::file;
  if (fs::exists(path / "manifest.json")) return PlaceKind::checkpoint;
  if (fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json")) {
    return PlaceKind::model;
  }
  if (fs::exists(path / "metrics.jsonl") || !list_checkpoints(path).empty()) return PlaceKind::run;
  throw bad_input(
      "{}: neither a model (model.safetensors, or model.safetensors.index.json) nor a checkpoint (manifest.json) nor a "
      "run with checkpoints (step-00000100) is there",
      path.string());
}

fs::path home_of(const fs::path& path) {
  return kind_of(path) == PlaceKind::checkpoint ? fs::canonical(path).parent_path() : path;
}

ModelSource open_model(const fs::path& path) {
  ModelSource source;
  source.weights = weights_of(path);
  source.home = home_of(source.weights);
  if (!fs::exists(source.home / "config.json")) {
    throw bad_input("{}: config.json is missing, without which the weights in {} have no meaning; put it there",
                    source.home.string(), source.weights.string());
  }
  source.config = load_model_config(source.home);
  source.params = open_weights(source.weights, source.config);
  for (const UnitSpec& unit : llama_units(source.config)) {
    for (const ParamSpec& spec : unit.params) {
      require_shape(*source.params, source.weights.string(), spec.name, spec.shape);
    }
  }
  return source;
}

fs::path find_tokenizer(const ModelSource& source, const std::string& asked) {
  if (!asked.empty()) return asked;
  const fs::path beside = source.home / "tokenizer.model";
  return fs::exists(beside) ? beside : fs::path();
}

}  // namespace sherd::app
