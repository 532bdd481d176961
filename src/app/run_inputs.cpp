#include "run_inputs.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "sherd/base/log.hpp"
#include "sherd/config/echo.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/file/lock.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/io/checkpoint.hpp"

namespace sherd::app {
namespace {

namespace fs = std::filesystem;

/// What every rank read for itself, from copies that may differ between nodes.
void require_same_inputs(const ModelConfig& model, const Corpus& corpus, Exchange& host) {
  const CorpusInfo& info = corpus.info();
  const std::string mine =
      fmt::format("{}\n{} documents, {} tokens of tokenizer {}, checksum {:08x}", to_config_json(model, ""),
                  info.documents, info.tokens, info.tokenizer_sha256, info.tokens_crc32c);
  const std::vector<std::string> all = host.all_gather(mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const bool same_model = all[rank].substr(0, all[rank].rfind('\n')) == all[0].substr(0, all[0].rfind('\n'));
    throw bad_input("rank {} read another {} than rank 0; the copies on the nodes differ, make them the same", rank,
                    same_model ? "corpus (--data)" : "config.json (--model)")
        .told_by(0);
  }
}

/// The tokenizer of the corpus: --tokenizer, or beside the model, or beside the corpus; empty if none is there. One of
/// the first two that did not make the corpus is an error.
fs::path find_tokenizer(const TrainConfig& config, const Corpus& corpus) {
  if (!config.tokenizer.empty()) {
    corpus.require_tokenizer(Tokenizer(config.tokenizer).sha256(), config.tokenizer);
    return config.tokenizer;
  }
  const fs::path with_model = fs::path(config.model) / "tokenizer.model";
  const fs::path with_corpus = fs::path(config.data).parent_path() / "tokenizer.model";
  if (fs::exists(with_model)) {
    corpus.require_tokenizer(Tokenizer(with_model).sha256(), with_model);
    return with_model;
  }
  if (fs::exists(with_corpus) && Tokenizer(with_corpus).sha256() == corpus.info().tokenizer_sha256) return with_corpus;
  return {};
}

/// The first line of `text` that `other` has otherwise: a key and its value.
std::string first_other_line(const std::string& text, const std::string& other) {
  std::size_t at = static_cast<std::size_t>(std::mismatch(text.begin(), text.end(), other.begin(), other.end()).first -
                                            text.begin());
  at = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;
  std::string line = text.substr(at, text.find('\n', at) - at);
  line.erase(0, line.find_first_not_of(' '));
  if (line.ends_with(',')) line.pop_back();
  return line;
}

/// --output has checkpoints, and a config.json that gives them their meaning: it must be that of --model.
void require_same_model(const TrainConfig& config, const ModelConfig& model) {
  const fs::path described = fs::path(config.output) / "config.json";
  if (list_checkpoints(config.output).empty() || !fs::exists(described)) return;
  const std::string theirs = to_config_json(load_model_config(config.output), ""), ours = to_config_json(model, "");
  if (theirs == ours) return;
  throw bad_input(
      "{} is of another model than --model {}: it says {}, and the model {}. Take another --output, for the "
      "checkpoints in this one would lose their meaning",
      described.string(), config.model, first_other_line(theirs, ours), first_other_line(ours, theirs));
}

void verify_model_files(const TrainConfig& config, const Exchange& host) {
  if (!fs::exists(fs::path(config.model) / kLockName)) return;
  verify_lock(load_lock(config.model), config.model, host.rank(), host.size());
  log::info("{}: every file is as {} says", config.model, kLockName);
}

}  // namespace

void require_same_config(const TrainConfig& config, Exchange& host) {
  const std::vector<std::string> all = host.all_gather(to_json(config));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw usage_error("rank {} was started with other settings than rank 0: {}", rank,
                      differing_fields(all[0], all[rank]).front())
        .told_by(0);
  }
}

RunInputs open_inputs(const TrainConfig& config, Exchange& host) {
  ModelConfig model;
  std::optional<Corpus> corpus;
  together(host, [&] {
    model = load_model_config(config.model);
    corpus.emplace(config.data);
    corpus->require_vocab(model.vocab_size);
    if (host.rank() == 0) find_tokenizer(config, *corpus);
    if (host.rank() == 0) require_same_model(config, model);
  });
  require_same_inputs(model, *corpus, host);
  together(host, [&] { verify_model_files(config, host); });
  return {model, std::move(*corpus)};
}

void describe_run(const TrainConfig& config, const RunInputs& inputs) {
  fs::create_directories(config.output);
  const fs::path described = fs::path(config.output) / "config.json";
  if (!fs::exists(described) ||
      to_config_json(load_model_config(config.output), "") != to_config_json(inputs.model, "")) {
    write_text(described, to_config_json(inputs.model, config.dtype == "bf16" ? "bfloat16" : "float32"));
  }
  const fs::path from = find_tokenizer(config, inputs.corpus), to = fs::path(config.output) / "tokenizer.model";
  if (from.empty() || (fs::exists(to) && fs::equivalent(from, to))) return;
  write_text(to, read_text(from, 64 << 20));
}

}  // namespace sherd::app
