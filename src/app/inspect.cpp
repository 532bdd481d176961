// `sherd inspect`: what a path is, read in full where checksums tell whether it is whole.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <span>

#include "commands.hpp"
#include "model_source.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/io/checkpoint.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/model/param_spec.hpp"

namespace sherd::app {
namespace {

namespace fs = std::filesystem;

template <class... Args>
void line(const char* what, fmt::format_string<Args...> text, Args&&... args) {
  fmt::print("  {:<12}{}\n", what, fmt::format(text, std::forward<Args>(args)...));
}

void print_corpus(const fs::path& path) {
  const Corpus corpus(path.string());
  const CorpusInfo& info = corpus.info();
  std::int64_t held_out = 0, held_out_tokens = 0, longest = 0;
  corpus.for_each_document([&](const Document& d) {
    longest = std::max(longest, d.tokens);
    if (corpus.split_of(d.index) == Split::train) return;
    ++held_out;
    held_out_tokens += d.tokens;
  });
  corpus.verify_tokens();
  fmt::print("{}: corpus\n", path.string());
  line("documents", "{}, the longest of {} tokens", info.documents, longest);
  line("tokens", "{}, {} bytes each", info.tokens, info.token_bytes());
  line("held out", "{} documents, {} tokens (a fraction of {}, seed {})", held_out, held_out_tokens, info.eval_fraction,
       info.split_seed);
  line("tokenizer", "{} pieces, sha256 {}", info.pieces, info.tokenizer_sha256);
  line("source", "{}", info.source);
  line("checksums", "good");
}

void print_shape(const ModelConfig& c) {
  line("model", "{} parameters: {} layers, hidden {}, feed-forward {}, vocabulary {}{}", c.parameters(), c.layers,
       c.hidden_size, c.intermediate_size, c.vocab_size, c.tied_embeddings ? ", tied" : "");
  line("attention", "{} query heads, {} key/value heads of {}; positions up to {}, theta {}{}", c.heads, c.kv_heads,
       c.head_dim, c.max_position, c.rope_theta, c.rope_llama3 ? ", llama3 scaling" : "");
}

void print_tokenizer(const fs::path& home) {
  line("tokenizer", "{}", fs::exists(home / "tokenizer.model") ? "tokenizer.model" : "none");
}

struct Stored {
  std::int64_t tensors = 0, elements = 0, bytes = 0;
};

void print_model(const fs::path& path) {
  const ModelSource source = open_model(path);  // checks every parameter's shape
  std::map<std::string, Stored> by_dtype;
  std::int64_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
    ++files;
    for (const SafetensorsEntry& tensor : read_safetensors_header(File::open_read(entry.path()))) {
      Stored& stored = by_dtype[tensor.dtype];
      ++stored.tensors;
      stored.elements += tensor.elements;
      stored.bytes += tensor.bytes;
    }
  }
  fmt::print("{}: Hugging Face model\n", path.string());
  print_shape(source.config);
  for (const auto& [dtype, stored] : by_dtype) {
    line("weights", "{} tensors of {}, {} elements, {:.1f} MB, in {} file(s)", stored.tensors, dtype, stored.elements,
         static_cast<double>(stored.bytes) / 1e6, files);
  }
  const std::vector<UnitSpec> units = llama_units(source.config);
  for (const ParamSpec& spec : units[1].params) {
    line("", "{} ({})", spec.name, fmt::join(spec.shape, ", "));
  }
  print_tokenizer(source.home);
}

void print_checkpoint(const fs::path& path) {
  CheckpointReader reader(path);
  const CheckpointMetadata& meta = reader.metadata();
  fmt::print("{}: checkpoint\n", path.string());
  line("step", "{}, after {} tokens", meta.step, meta.tokens_seen);
  line("config", "{}", meta.config_json);
  std::int64_t elements = 0;
  for (const std::string& name : reader.names()) {
    std::int64_t n = 1;
    for (const std::int64_t d : reader.shape(name)) n *= d;
    elements += n;
  }
  line("parameters", "{} in {} tensors", elements, reader.names().size());
  std::fflush(stdout);
  reader.verify();
  line("checksums", "good: {:.1f} MB of {} rank(s)", static_cast<double>(reader.bytes_read()) / 1e6, meta.world_size);
}

/// The last line of a file that may be long; the last 64 KiB are looked at.
std::string last_line(const fs::path& path) {
  constexpr std::int64_t kTail = 64 << 10;
  const File file = File::open_read(path);
  const std::int64_t size = file.size(), tail = std::min(size, kTail);
  std::string text(static_cast<std::size_t>(tail), '\0');
  file.pread_all(std::as_writable_bytes(std::span(text)), size - tail);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.find_last_of('\n') + 1);
}

void print_run(const fs::path& path) {
  fmt::print("{}: run\n", path.string());
  if (fs::exists(path / "config.json")) print_shape(load_model_config(path));
  print_tokenizer(path);
  for (const fs::path& checkpoint : list_checkpoints(path)) {
    try {
      const CheckpointMetadata meta = CheckpointReader(checkpoint).metadata();
      line("checkpoint", "{}: step {}, after {} tokens, {} rank(s)", checkpoint.filename().string(), meta.step,
           meta.tokens_seen, meta.world_size);
    } catch (const Error& e) {
      line("damaged", "{}", e.what());
    }
  }
  if (fs::exists(path / "metrics.jsonl")) line("metrics", "{}", last_line(path / "metrics.jsonl"));
}

}  // namespace

int inspect(const InspectConfig& config) {
  const fs::path path = config.path;
  switch (kind_of(path)) {
    case PlaceKind::file:
      print_corpus(path);
      break;
    case PlaceKind::model:
      print_model(path);
      break;
    case PlaceKind::run:
      print_run(path);
      break;
    case PlaceKind::checkpoint:
      print_checkpoint(path);
      break;
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
