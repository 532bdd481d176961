// `sherd generate`: the prompt and what the model makes of it, to stdout; how fast, to stderr.
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "commands.hpp"
#include "machine.hpp"
#include "model_source.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/model/decoder.hpp"
#include "sherd/model/sampling.hpp"
#include "sherd/ops/backend.hpp"

namespace sherd::app {
namespace {

int threads_of(const GenerateConfig& config) {
  if (config.threads > 0) return narrow<int>(config.threads);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? std::max(1, CPU_COUNT(&allowed)) : 1;
}

Tokenizer open_tokenizer(const ModelSource& source, const std::string& asked) {
  const std::filesystem::path path = find_tokenizer(source, asked);
  if (path.empty()) {
    throw bad_input("{}: there is no tokenizer.model; name the one the model was trained with by --tokenizer",
                    source.home.string());
  }
  Tokenizer tokenizer(path.string());
  tokenizer.require_vocab(source.config.vocab_size);
  return tokenizer;
}

/// The prompt as documents begin in a corpus: after bos, if the tokenizer has one.
std::vector<int> prompt_tokens(const GenerateConfig& config, const Tokenizer& tokenizer, const ModelConfig& model) {
  std::vector<int> tokens;
  if (tokenizer.bos_id() >= 0) tokens.push_back(tokenizer.bos_id());
  tokenizer.encode(config.prompt, tokens);
  if (tokens.empty()) {
    throw usage_error("--prompt is empty and {} has no bos token to begin with; give a prompt", tokenizer.path());
  }
  if (std::ssize(tokens) >= model.max_position) {
    throw bad_input(
        "the prompt has {} tokens and the model was made for {}, prompt and continuation together; shorten "
        "the prompt",
        tokens.size(), model.max_position);
  }
  return tokens;
}

/// A decoder and the memory it lives in.
struct Engine {
  Engine(const ModelSource& source, std::int64_t capacity, const Backend& backend, int threads)
      : device(make_device(std::string(backend.name), threads, 0)),
        arena(device->arena("model", Decoder::arena_bytes(source.config, capacity, backend.workspace_bytes))),
        ops(backend.make_ops(arena.take(DType::f32, {backend.workspace_bytes / 4}))),
        stream(device->stream("compute", StreamKind::compute)),
        decoder(*ops, *stream, arena, source.config, capacity) {
    decoder.load([&](const ParamSpec& spec, std::int64_t first, std::span<float> out) {
      source.params->read(spec.name, ParamState::master, first, out);
    });
  }
  std::unique_ptr<Device> device;
  Arena arena;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Stream> stream;
  Decoder decoder;
};

/// Adds at most `most` tokens to `text`, until eos, which is not added. `logits` are those after the prompt, for the
/// pieces and perhaps rows beyond, which no text has.
void extend(std::vector<int>& text, std::int64_t most, std::vector<float> logits, const Random& random,
            const Sampling& sampling, const Tokenizer& tokenizer, Decoder& decoder) {
  for (std::int64_t i = 0; i < most; ++i) {
    const auto pieces = std::span(logits).first(narrow<std::size_t>(tokenizer.pieces()));
    const std::int32_t token = choose_token(pieces, sampling, random.uniform(narrow<std::uint64_t>(i)));
    if (token == tokenizer.eos_id()) return;
    text.push_back(token);
    if (i + 1 < most) logits = decoder.append({&token, 1});
  }
}

}  // namespace

int generate(const GenerateConfig& config) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](auto from, auto to) { return std::chrono::duration<double>(to - from).count(); };
  const ModelSource source = open_model(config.model);
  const Tokenizer tokenizer = open_tokenizer(source, config.tokenizer);
  const std::vector<int> prompt = prompt_tokens(config, tokenizer, source.config);
  const std::int64_t room = source.config.max_position - std::ssize(prompt);
  const std::int64_t most = std::min(config.max_new_tokens, room);
  const std::string device = settle_device(config.device, NodeMap::even(1, 1), *self_exchange());
  Engine engine(source, std::ssize(prompt) + most, backend_of(device), threads_of(config));

  const auto begin = Clock::now();
  const std::vector<float> logits = engine.decoder.append(prompt);
  const auto prompt_read = Clock::now();
  std::int64_t added = 0;
  for (std::int64_t index = 0; index < config.count; ++index) {
    const Random random(narrow<std::uint64_t>(config.seed), Purpose::sample, narrow<std::uint64_t>(index));
    engine.decoder.rewind(std::ssize(prompt));
    std::vector<int> text = prompt;
    extend(text, most, logits, random, {config.temperature, config.top_k}, tokenizer, engine.decoder);
    added += std::ssize(text) - std::ssize(prompt);
    fmt::print("{}\n", tokenizer.decode(text));
    std::fflush(stdout);
  }
  const double took = seconds(prompt_read, Clock::now());
  fmt::print(stderr, "{}: prompt of {} tokens in {:.2f} s; {} tokens added in {:.2f} s, {:.1f} tokens/s\n",
             source.weights.string(), prompt.size(), seconds(begin, prompt_read), added, took,
             static_cast<double>(added) / std::max(took, 1e-9));
  if (most < config.max_new_tokens) {
    fmt::print(stderr, "continuations end after {} tokens: the model was made for {}\n", most,
               source.config.max_position);
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
