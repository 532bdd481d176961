#pragma once
// What train_bench is told: every setting of `sherd train` by its own name, and what only a benchmark asks.
#include <string>
#include <vector>

#include "sherd/config/train_config.hpp"
#include "sherd/data/batch.hpp"

namespace sherd::bench {

struct Settings {
  TrainConfig train;  // preset and defaults as in `sherd train`; what concerns data and checkpoints is not looked at
  std::string mode = "whole";        // as in the head of train_bench.cpp
  std::int64_t rounds = 5;           // timed, each ending in a synchronization
  std::int64_t steps = 1;            // of a round
  std::int64_t warmup = 2;           // steps before the first round
  std::int64_t document_length = 0;  // mean of random documents; 0: every sequence is one
};

/// Of the command line without the program's name. Usage errors as `sherd train` has them.
Settings parse_settings(const std::vector<std::string>& args);
/// What --help prints.
std::string settings_help();

/// {"max-seq-length":"2048",...}: what differs from the defaults of `sherd train`, by flag. JSON.
std::string changed_settings(const Settings& settings);

/// A rank's micro-batches of a step: random tokens, in sequences that are one document each, or begin and end with
/// parts of documents of 1 to 2 `document_length` - 1 tokens.
std::vector<HostBatch> random_batches(const Settings& settings, std::int64_t vocab, int rank);
/// The most documents of any row.
std::int64_t most_documents(const std::vector<HostBatch>& batches);

}  // namespace sherd::bench
