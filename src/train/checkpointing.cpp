#include "sherd/train/checkpointing.hpp"

#include <algorithm>
#include <optional>

#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/config/echo.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/io/checkpoint.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/train/state_io.hpp"

namespace sherd {
namespace {

namespace fs = std::filesystem;

/// Rank 0 looks into the shared folder, for all.
std::vector<fs::path> checkpoints_of(const fs::path& output, Exchange& host) {
  std::string mine;
  if (host.rank() == 0) {
    for (const fs::path& p : list_checkpoints(output)) mine += p.string() + "\n";
  }
  std::vector<fs::path> found;
  const std::string all = host.all_gather(mine).front();
  for (std::size_t at = 0, end; (end = all.find('\n', at)) != std::string::npos; at = end + 1) {
    found.emplace_back(all.substr(at, end - at));
  }
  return found;
}

/// Of the ranks before this one, those that write: the first replica's, whose ranks need not be the first ones.
int writers_before(const Mesh& mesh) {
  const auto begin = mesh.layout.position.begin();
  return narrow<int>(std::count_if(begin, begin + mesh.world_rank, [&](int p) { return p < mesh.shard_size(); }));
}

CheckpointMetadata load_checkpoint(const fs::path& directory, Rig& rig) {
  CheckpointReader reader(directory);
  load_state(rig, reader, directory.string(), true);
  return reader.metadata();
}

/// The same on all ranks, since all have read the same checkpoint and the same corpus.
void require_same_tokens(const fs::path& directory, const CheckpointMetadata& meta, const std::string& tokenizer) {
  if (meta.tokenizer_sha256.empty() || meta.tokenizer_sha256 == tokenizer) return;
  throw bad_input(
      "{}: trained on tokens of the tokenizer with SHA-256 {:.12}..., and --data was made with {:.12}...: the same "
      "numbers would mean other text. Prepare the corpus with the run's own tokenizer.model, or take another --output",
      directory.string(), meta.tokenizer_sha256, tokenizer)
      .told_by(0);
}

void log_resumed(const fs::path& directory, const CheckpointMetadata& meta, const TrainConfig& config) {
  log::info("resumed from {}: step {}, {} tokens seen", directory.string(), meta.step, meta.tokens_seen);
  for (const std::string& line : differing_fields(meta.config_json, to_json(config))) {
    log::info("  changed since that checkpoint: {}", line);
  }
}

void load_weights(const TrainConfig& config, const ModelConfig& model, Rig& rig, Exchange& host) {
  if (config.from_scratch) {
    log::info("weights: drawn with seed {}", config.seed);
    return rig.initialize(static_cast<std::uint64_t>(config.seed));
  }
  SafetensorsModel::Options options;
  options.tied_embeddings = model.tied_embeddings;
  together(host, [&] {
    SafetensorsModel from(config.model, options);
    load_state(rig, from, config.model, false);
  });
  log::info("weights: {}", config.model);
}

/// Rank 0. Checkpoints after the step where this run began are of another history, which `--resume auto` would go on
/// from. They are kept, under a name that is not looked for.
void set_aside_after(const fs::path& output, std::int64_t began) {
  for (const fs::path& other : list_checkpoints(output)) {
    if (std::stoll(other.filename().string().substr(std::string_view("step-").size())) <= began) continue;
    fs::path aside = output / ("replaced-" + other.filename().string());
    for (int n = 2; fs::exists(aside); ++n)
      aside = output / fmt::format("replaced-{}-{}", other.filename().string(), n);
    rename_durably(other, aside);
    log::info("{} is later than this run's beginning, step {}; kept as {}", other.string(), began, aside.string());
  }
}

}  // namespace

RunState restore(const TrainConfig& config, const ModelConfig& model, const std::string& tokenizer_sha256, Rig& rig,
                 Exchange& host) {
  std::vector<fs::path> candidates;
  if (config.resume == "auto")
    candidates = checkpoints_of(config.output, host);
  else if (config.resume != "none")
    candidates = {config.resume};
  for (const fs::path& directory : candidates) {
    CheckpointMetadata meta;
    const std::optional<Error> error = first_error(host, [&] { meta = load_checkpoint(directory, rig); });
    if (!error) {
      require_same_tokens(directory, meta, tokenizer_sha256);
      log_resumed(directory, meta, config);
      return {meta.step, meta.tokens_seen, meta.step, tokenizer_sha256, meta.algorithms};
    }
    if (directory == candidates.back()) {
      throw bad_input("{}; no good checkpoint is left to resume from. Use --resume none to begin anew", error->what())
          .told_by(error->teller());
    }
    if (host.rank() == error->teller()) log::warn("{}; trying the next older checkpoint", error->what());
  }
  load_weights(config, model, rig, host);
  return {0, 0, 0, tokenizer_sha256};
}

void save(const TrainConfig& config, RunState& state, Rig& rig, Exchange& host) {
  rig.synchronize();
  const fs::path output = config.output;
  const auto all_or_throw = [&](const std::function<void()>& work) {
    if (const std::optional<Error> error = first_error(host, work)) {
      throw Error(error->code(),
                  fmt::format("the checkpoint of step {} was not written: {}. The checkpoints before it are untouched",
                              state.step, error->what()))
          .told_by(error->teller());
    }
  };
  all_or_throw([&] {
    if (host.rank() == 0) begin_checkpoint(output, state.step);
  });
  std::string part;
  all_or_throw([&] {
    if (rig.mesh().replicate->rank() != 0) return;
    CheckpointWriter writer(output, state.step, writers_before(rig.mesh()));
    save_state(rig, writer);
    part = writer.finish();
  });
  std::vector<std::string> parts = host.all_gather(part);
  std::erase(parts, "");
  all_or_throw([&] {
    if (host.rank() != 0) return;
    const CheckpointMetadata meta{state.step,      state.tokens_seen,      narrow<int>(parts.size()),
                                  to_json(config), state.tokenizer_sha256, state.algorithms};
    const fs::path at = commit_checkpoint(output, meta, parts, narrow<int>(config.keep_checkpoints), [&] {
      if (state.began) set_aside_after(output, *state.began);
    });
    log::info("checkpoint {}", at.string());
  });
  state.began.reset();
}

}  // namespace sherd
