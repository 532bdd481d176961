#include "train_settings.hpp"

#include <algorithm>

#include "documents.hpp"
#include "sherd/config/command_line.hpp"
#include "sherd/file/json.hpp"

namespace sherd::bench {
namespace {

constexpr Range kCount{0, 1e6}, kAtLeastOne{1, 1e6};

Fields fields_of(Settings& s) {
  Fields fields = sherd::fields_of(s.train);
  for (Field& field : fields) field.required = field.name == "model";
  const std::string group = "The benchmark";
  fields.push_back({"mode",
                    group,
                    &s.mode,
                    "what is timed",
                    {},
                    {"whole", "forward-backward", "compute", "communication", "overlap"}});
  fields.push_back({"rounds", group, &s.rounds, "timed rounds", kAtLeastOne});
  fields.push_back({"steps", group, &s.steps, "steps of a round", kAtLeastOne});
  fields.push_back({"warmup", group, &s.warmup, "steps before the first round", kCount});
  fields.push_back({"document-length", group, &s.document_length,
                    "mean length of random documents; 0: every sequence is one document", kCount});
  return fields;
}

std::vector<Subcommand> offered(Settings& s) {
  return {{.name = "train-bench",
           .summary = "steps on random tokens, timed; --model may be a config.json",
           .fields = fields_of(s),
           .train = &s.train}};
}

HostBatch random_batch(const Settings& s, std::int64_t vocab, const Random& random) {
  HostBatch b(s.train.batch_size_per_device, s.train.max_seq_length);
  for (std::size_t k = 0; k < b.tokens.size(); ++k) {
    b.tokens[k] = static_cast<std::int32_t>(random.bits(k) % static_cast<std::uint64_t>(vocab));
  }
  b.doc_start = document_starts(b.batch, b.length, s.document_length, random);
  for (std::size_t k = 0; k + 1 < b.tokens.size(); ++k) {
    const bool last = (k + 1) % static_cast<std::size_t>(b.length) == 0;
    if (last || b.doc_start[k + 1] != b.doc_start[k]) continue;
    b.targets[k] = b.tokens[k + 1];
    ++b.valid;
  }
  return b;
}

}  // namespace

Settings parse_settings(const std::vector<std::string>& args) {
  Settings s;
  std::vector<std::string> words{"train-bench"};
  words.insert(words.end(), args.begin(), args.end());
  parse_command_line(offered(s), words);
  const auto fields = fields_of(s);
  const auto inside = std::find_if(fields.begin(), fields.end(),
                                   [](const Field& field) { return field.name == "optimizer-in-backward"; });
  if (s.mode == "forward-backward" && inside != fields.end() && value_text(*inside) == "true")
    throw usage_error("--mode forward-backward has no optimizer; leave --optimizer-in-backward out");
  return s;
}

std::string settings_help() {
  Settings s;
  return help_text(offered(s), {"train-bench", "--help"});
}

std::string changed_settings(const Settings& settings) {
  Settings defaults, own = settings;
  const Fields before = fields_of(defaults), after = fields_of(own);
  std::string text;
  for (std::size_t i = 0; i < after.size(); ++i) {
    const std::string value = value_text(after[i]);
    if (value == value_text(before[i])) continue;
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", json_quote(after[i].name), json_quote(value));
  }
  return fmt::format("{{{}}}", text);
}

std::vector<HostBatch> random_batches(const Settings& settings, std::int64_t vocab, int rank) {
  std::vector<HostBatch> batches;
  for (std::int64_t i = 0; i < settings.train.gradient_accumulation_steps; ++i) {
    const auto stream = static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint64_t>(rank);
    batches.push_back(random_batch(settings, vocab, Random(1, Purpose::test, stream)));
  }
  return batches;
}

std::int64_t most_documents(const std::vector<HostBatch>& batches) {
  std::int64_t most = 1;
  for (const HostBatch& b : batches) most = std::max(most, most_documents(b.doc_start, b.length));
  return most;
}

}  // namespace sherd::bench
