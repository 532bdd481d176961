#pragma once
// What a run reads before it begins, and what it writes beside its checkpoints.
#include "sherd/config/model_config.hpp"
#include "sherd/config/train_config.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/data/exchange.hpp"

namespace sherd::app {

struct RunInputs {
  ModelConfig model;
  Corpus corpus;
};

/// Usage error that names the first difference, unless all ranks were started with the same settings. Collective.
void require_same_config(const TrainConfig& config, Exchange& host);

/// The same on all ranks, and fit for each other: the corpus for the model's vocabulary and for the tokenizer, the
/// model for its lock (sherd.lock.json, if it has one) and for the checkpoints in --output. bad_input otherwise, with
/// nothing written. Collective.
RunInputs open_inputs(const TrainConfig& config, Exchange& host);

/// Rank 0, once the run has begun: config.json and tokenizer.model beside the checkpoints, so that `sherd generate` and
/// `sherd export` need only --output. A config.json of the same model stays as it is: it may be the user's own.
void describe_run(const TrainConfig& config, const RunInputs& inputs);

}  // namespace sherd::app
