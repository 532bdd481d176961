// JSON, config.json and TOML.
#include "sherd/base/error.hpp"
#include "sherd/config/model_config.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/posix.hpp"
#include "target.hpp"
#include "toml.hpp"

namespace sherd::test {
namespace {

std::vector<std::string> json_seeds(const std::filesystem::path& /*scratch*/) {
  return {R"({"a": [1, -2.5e3, null, true, "\u00e9\ud83d\ude00"], "b": {"c": {}}})", R"([{"x": 0}, [], "text"])"};
}

void visit(const JsonValue& value, int depth) {
  SHERD_CHECK(depth < 10000, "{} is too deep", value.where());
  if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) visit(value.at(i), depth + 1);
  } else if (value.is_object()) {
    for (const std::string& key : value.keys()) visit(value.at(key), depth + 1);
  } else if (value.is_integer()) {
    (void)value.integer();
  }
}

void run_json(const std::string& input, const std::filesystem::path& /*scratch*/) {
  const JsonDocument document = JsonDocument::parse(input, "fuzzed");
  visit(document.root(), 0);
  const std::string again = document.root().dump();
  SHERD_CHECK(JsonDocument::parse(again, "dumped").root().dump() == again, "{} is not what was read", again);
}

std::vector<std::string> model_seeds(const std::filesystem::path& /*scratch*/) {
  const std::filesystem::path inputs = SHERD_INPUTS;
  return {read_text(inputs / "../tools/bench/shapes/smollm_135m.json", 1 << 20),
          R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
 "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "rms_norm_eps": 1e-05,
 "rope_theta": 500000.0, "tie_word_embeddings": true, "max_position_embeddings": 131072, "hidden_act": "silu",
 "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
 "original_max_position_embeddings": 8192}})"};
}

void run_model(const std::string& input, const std::filesystem::path& scratch) {
  const ModelConfig config = load_model_config(as_file(input, scratch));
  SHERD_CHECK(config.parameters() > 0, "{} parameters", config.parameters());
}

std::vector<std::string> toml_seeds(const std::filesystem::path& /*scratch*/) {
  std::vector<std::string> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(SHERD_INPUTS)) {
    if (entry.path().extension() == ".toml") seeds.push_back(read_text(entry.path(), 1 << 20));
  }
  SHERD_CHECK(!seeds.empty(), "no configuration in {}", SHERD_INPUTS);
  return seeds;
}

void run_toml(const std::string& input, const std::filesystem::path& /*scratch*/) {
  config::parse_toml(input, "fuzzed");
}

}  // namespace

std::vector<FuzzTarget> config_targets() {
  return {{"json", json_seeds, run_json}, {"model_config", model_seeds, run_model}, {"toml", toml_seeds, run_toml}};
}

}  // namespace sherd::test
