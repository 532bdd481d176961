#pragma once
// `sherd prepare`: text files -> a corpus. Each rank takes the lines that begin in its equal share of the input bytes,
// its threads encode blocks of lines, and rank 0 joins the parts, so the corpus is the same whatever the ranks and
// threads. Memory is bounded (below 300 MB) whatever the size of the input.
#include <cstdint>
#include <string>
#include <vector>

#include "sherd/data/exchange.hpp"

namespace sherd {

struct PrepareConfig {
  std::vector<std::string> inputs;   // files, in the order of the corpus
  std::string output;                // corpus.h5
  std::string tokenizer;             // tokenizer.model; with train_tokenizer it is written, else read
  std::int64_t train_tokenizer = 0;  // pieces of a tokenizer trained on the inputs; 0: use an existing one
  std::string format = "auto";       // jsonl (field "text") | text (a document per line) | auto: by extension
  double eval_fraction = 0.02;       // of the documents, held out for evaluation
  std::int64_t seed = 42;            // of the choice of held-out documents
  bool skip_bad_lines = false;       // count and leave out broken lines instead of stopping at the first
  bool add_bos = true;               // begin every document with the tokenizer's bos
  bool add_eos = true;               // end every document with its eos
  std::int64_t threads = 0;          // encoding threads per rank; 0: the cores this process may use
};

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
