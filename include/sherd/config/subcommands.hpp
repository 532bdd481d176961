#pragma once
// What the smaller subcommands can be told, one comment per field; flags and TOML keys are the names in kebab-case.
#include <cstdint>
#include <string>
#include <vector>

#include "sherd/config/train_config.hpp"

namespace sherd {

struct PrepareConfig {
  std::vector<std::string> inputs;   // files, in the order of the corpus
  std::string output = "corpus.h5";  // the corpus to write
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

struct GenerateConfig {
  std::string model;                 // Hugging Face directory, checkpoint directory, or the output directory of a run
  std::string tokenizer;             // tokenizer.model; empty: the one beside the model
  std::string prompt;                // text to continue; empty: from the beginning of a document
  std::int64_t max_new_tokens = 64;  // tokens to add at most
  double temperature = 0;            // 0: always the likeliest token
  std::int64_t top_k = 0;            // sample among this many likeliest; 0: all
  std::int64_t seed = 42;            // of sampling
  std::string device = "auto";       // cuda | cpu | auto: cuda where there is a GPU
  std::int64_t threads = 0;          // CPU threads; 0: all cores
  std::int64_t count = 1;            // continuations to write
};

struct ExportConfig {
  std::string checkpoint;      // output directory of a run (its newest good checkpoint), or one step directory
  std::string output;          // Hugging Face directory to write
  std::string dtype = "bf16";  // bf16 | fp32
  std::string tokenizer;       // tokenizer.model to put beside the weights; empty: the checkpoint's own, if any
};

struct InspectConfig {
  std::string path;  // corpus, checkpoint, run directory or model directory
};

struct PlanConfig {
  TrainConfig train;       // the run to plan
  std::int64_t ranks = 1;  // of all nodes
  std::int64_t nodes = 1;  // ranks is a multiple of it
};

}  // namespace sherd
