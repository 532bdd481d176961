#pragma once
// `sherd prepare`: text files -> a corpus. Each rank takes the lines that begin in its equal share of the input bytes,
// its threads encode blocks of lines, and rank 0 joins the parts, so the corpus is the same whatever the ranks and
// threads. Memory is bounded (below 300 MB) whatever the size of the input.
#include <cstdint>

#include "sherd/config/subcommands.hpp"
#include "sherd/data/exchange.hpp"

namespace sherd {

struct PrepareReport {
  std::int64_t documents = 0;
  std::int64_t held_out = 0;  // of the documents
  std::int64_t tokens = 0;
  std::int64_t bad_lines = 0;  // skipped
  std::int64_t bytes = 0;      // of input
  double seconds = 0;
};

/// Collective over the ranks of `peers`; every rank returns the same report or throws the same error. Usage error for a
/// contradictory config; bad input for a missing file, a broken line (with file and line number), an empty corpus, a
/// file that is no tokenizer. The output appears under its name only when it is whole.
PrepareReport prepare(const PrepareConfig& config, Exchange& peers);

}  // namespace sherd
