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

struct Failure {
  std::string message;
  int rank = 0;
};

/// Runs `work` on every rank; none if it went well on all, else what went wrong first, the same everywhere.
template <class Work>
std::optional<Failure> failure_anywhere(Exchange& host, Work work) {
  std::string mine;
  try {
    work();
  } catch (const Error& e) {
    mine = e.what();
  }
  const std::vector<std::string> all = host.all_gather(mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].empty()) return Failure{all[rank], narrow<int>(rank)};
  }
  return {};
}

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
  const auto failure = failure_anywhere(host, [&] {
    SafetensorsModel from(config.model, options);
    load_state(rig, from, config.model, false);
  });
  if (failure) throw bad_input("{}", failure->message).told_by(failure->rank);
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

RunState restore(const TrainConfig& config, const ModelConfig& model, Rig& rig, Exchange& host) {
  std::vector<fs::path> candidates;
  if (config.resume == "auto")
    candidates = checkpoints_of(config.output, host);
  else if (config.resume != "none")
    candidates = {config.resume};
  for (const fs::path& directory : candidates) {
    CheckpointMetadata meta;
    const auto failure = failure_anywhere(host, [&] { meta = load_checkpoint(directory, rig); });
    if (!failure) {
      log_resumed(directory, meta, config);
      return {meta.step, meta.tokens_seen, meta.step};
    }
    if (directory == candidates.back()) {
      throw bad_input("{}; no good checkpoint is left to resume from. Use --resume none to begin anew",
                      failure->message)
          .told_by(failure->rank);
    }
    if (host.rank() == failure->rank) log::warn("{}; trying the next older checkpoint", failure->message);
  }
  load_weights(config, model, rig, host);
  return {0, 0, 0};
}

void save(const TrainConfig& config, RunState& state, Rig& rig, Exchange& host) {
  rig.synchronize();
  const fs::path output = config.output;
  const auto all_or_throw = [&](auto work) {
    const auto failure = failure_anywhere(host, work);
    if (failure) {
      throw does_not_fit("the checkpoint of step {} was not written: {}. The checkpoints before it are untouched",
                         state.step, failure->message)
          .told_by(failure->rank);
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
    if (state.began) set_aside_after(output, *state.began);
    const CheckpointMetadata meta{state.step, state.tokens_seen, narrow<int>(parts.size()), to_json(config)};
    const fs::path at = commit_checkpoint(output, meta, parts, narrow<int>(config.keep_checkpoints));
    log::info("checkpoint {}", at.string());
  });
  state.began.reset();
}

}  // namespace sherd
