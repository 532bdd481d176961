#pragma once
// Where a run begins and what it leaves: fresh weights, a Hugging Face model, or the newest good checkpoint; and
// saving.
#include <filesystem>
#include <optional>
#include <string>

#include "sherd/data/exchange.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

/// How far a run has come. The data cursor is the step: order and batches are functions of it.
struct RunState {
  std::int64_t step = 0;         // next step, from 0
  std::int64_t tokens_seen = 0;  // positions of all ranks' batches so far
  /// Until the first save: where this run began. Checkpoints after it are of another history.
  std::optional<std::int64_t> began;
  std::string tokenizer_sha256{};  // that made the corpus: what the tokens mean
  std::string algorithms{};        // settle_algorithms
};

/// Loads or draws the parameters, as --resume, --from-scratch and --model say, and tells what it did in the log. A
/// damaged checkpoint is warned about, and the next older one is tried, on all ranks alike. bad_input for a checkpoint
/// whose tokens another tokenizer made. Collective.
RunState restore(const TrainConfig& config, const ModelConfig& model, const std::string& tokenizer_sha256, Rig& rig,
                 Exchange& host);

/// Writes output/step-XXXXXXXX. The first save sets aside what another history left after `began`. If one rank fails,
/// all throw its error, and earlier checkpoints are untouched. Collective.
void save(const TrainConfig& config, RunState& state, Rig& rig, Exchange& host);

}  // namespace sherd
