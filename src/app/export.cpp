#include "sherd/io/export.hpp"

#include "commands.hpp"
#include "model_source.hpp"
#include "sherd/base/log.hpp"
#include "sherd/data/tokenizer.hpp"

namespace sherd::app {
namespace {

std::uintmax_t bytes_in(const std::filesystem::path& directory) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) bytes += entry.file_size();
  return bytes;
}

}  // namespace

int export_checkpoint(const ExportConfig& config) {
  const ModelSource source = open_model(config.checkpoint);
  ExportOptions options;
  options.dtype = dtype_from_name(config.dtype);
  options.tokenizer = find_tokenizer(source, config.tokenizer);
  if (!options.tokenizer.empty()) Tokenizer(options.tokenizer.string()).require_vocab(source.config.vocab_size);
  export_model(*source.params, source.config, config.output, options);
  log::info("{}: {} parameters in {}, {:.1f} MB, from {}", config.output, source.config.parameters(), config.dtype,
            static_cast<double>(bytes_in(config.output)) / 1e6, source.weights.string());
  if (options.tokenizer.empty())
    log::warn("{}: without tokenizer.model, as none was found; see --tokenizer", config.output);
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
