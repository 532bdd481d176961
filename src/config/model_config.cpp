// Reads Hugging Face's config.json for Llama: the keys of LlamaConfig, with its defaults where old files lack them, and
// rotary embeddings either as rope_theta + rope_scaling (transformers 4) or as rope_parameters (transformers 5).
#include "sherd/config/model_config.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <optional>

#include "json.hpp"
#include "sherd/base/error.hpp"

namespace sherd {
namespace {

using config::JsonArray;
using config::JsonObject;
using config::JsonValue;

constexpr std::uintmax_t kMaxFileSize = 1 << 20;               // the real ones have one or two thousand bytes
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 31;  // no Llama comes near; products still fit in 64 bits
constexpr std::int64_t kMaxLayers = 1 << 16;                   // a table is built per layer
constexpr double kMaxParameters = 1e14;

std::string read_small_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw bad_input("{}: {}; expected a Hugging Face config.json", path.string(), error.message());
  if (size > kMaxFileSize) {
    throw bad_input("{}: {} bytes; a config.json has at most {}", path.string(), size, kMaxFileSize);
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw bad_input("{}: cannot read its {} bytes; check its permissions", path.string(), size);
  }
  return text;
}

// One object of the file, read by key; every error names file, key, value and what was expected.
class Reader {
 public:
  Reader(const JsonValue& object, std::string file, std::string prefix = "")
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  /// Null where the key is missing or null: Hugging Face writes null for "not set".
  const JsonValue* find(const char* key) const {
    const JsonValue* v = object_.find(key);
    return v && !v->is_null() ? v : nullptr;
  }
  Error wrong(const char* key, const JsonValue& v, const std::string& expected) const {
    return bad_input("{}: {}{} is {}; {}", file_, prefix_, key, v.text(), expected);
  }

  std::int64_t integer(const char* key, std::int64_t least, std::int64_t most,
                       std::optional<std::int64_t> fallback = {}) const {
    const JsonValue* v = find(key);
    if (!v) {
      if (fallback) return *fallback;
      throw bad_input("{}: {}{} is missing; an integer from {} to {} is expected", file_, prefix_, key, least, most);
    }
    const auto* i = v->as<std::int64_t>();
    if (!i || *i < least || *i > most) {
      throw wrong(key, *v, fmt::format("an integer from {} to {} is expected", least, most));
    }
    return *i;
  }

  double number(const char* key, double least, double most, std::optional<double> fallback = {}) const {
    const JsonValue* v = find(key);
    if (!v) {
      if (fallback) return *fallback;
      throw bad_input("{}: {}{} is missing; a number from {} to {} is expected", file_, prefix_, key, least, most);
    }
    const auto* i = v->as<std::int64_t>();
    const auto* d = v->as<double>();
    const double x = i ? static_cast<double>(*i) : d ? *d : std::numeric_limits<double>::quiet_NaN();
    if (!(x >= least && x <= most)) {
      throw wrong(key, *v, fmt::format("a number from {} to {} is expected", least, most));
    }
    return x;
  }

  bool boolean(const char* key, bool fallback) const {
    const JsonValue* v = find(key);
    if (!v) return fallback;
    const auto* b = v->as<bool>();
    if (!b) throw wrong(key, *v, "true or false is expected");
    return *b;
  }

  std::string string(const char* key, const std::string& fallback) const {
    const JsonValue* v = find(key);
    if (!v) return fallback;
    const auto* s = v->as<std::string>();
    if (!s) throw wrong(key, *v, "a string is expected");
    return *s;
  }

  /// An id, or the first of a list of ids, or -1 for none.
  std::int64_t token(const char* key, std::int64_t vocab_size, std::int64_t fallback) const {
    const JsonValue* v = object_.find(key);
    if (!v) return fallback < vocab_size ? fallback : -1;
    if (const auto* list = v->as<JsonArray>(); list && !list->empty()) v = &list->front();
    if (v->is_null()) return -1;
    const auto* i = v->as<std::int64_t>();
    if (!i || *i < -1 || *i >= vocab_size) {
      throw wrong(key, *v,
                  fmt::format("a token id below vocab_size {}, a list of them, or null is expected", vocab_size));
    }
    return *i;
  }

  const std::string& file() const { return file_; }
  const JsonValue& object() const { return object_; }

 private:
  const JsonValue& object_;
  std::string file_, prefix_;
};

void check_family(const Reader& r) {
  const std::string type = r.string("model_type", "llama");
  if (type != "llama") {
    throw r.wrong("model_type", *r.find("model_type"), "Sherd computes \"llama\" only; choose a model of that type");
  }
  if (const JsonValue* names = r.find("architectures")) {
    const auto* list = names->as<JsonArray>();
    const auto is_llama = [](const JsonValue& v) {
      const auto* s = v.as<std::string>();
      return s && (*s == "LlamaForCausalLM" || *s == "LLaMAForCausalLM");  // the second in the oldest conversions
    };
    if (!list || (!list->empty() && std::none_of(list->begin(), list->end(), is_llama))) {
      throw r.wrong("architectures", *names, "[\"LlamaForCausalLM\"] is expected");
    }
  }
  if (!r.find("model_type") && !r.find("architectures")) {
    throw bad_input("{}: neither model_type nor architectures; a config.json with model_type \"llama\" is expected",
                    r.file());
  }
}

void refuse_what_is_not_computed(const Reader& r) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (r.boolean(key, false)) throw r.wrong(key, *r.find(key), "Sherd's Llama has no biases: false is expected");
  }
  if (r.string("hidden_act", "silu") != "silu") {
    throw r.wrong("hidden_act", *r.find("hidden_act"), "Sherd computes SwiGLU only: \"silu\" is expected");
  }
  if (const JsonValue* q = r.find("quantization_config")) {
    throw r.wrong("quantization_config", *q, "Sherd reads fp32, bf16 and fp16 weights; fetch the unquantized model");
  }
  if (r.number("attention_dropout", 0, 1, 0.0) != 0) {
    throw r.wrong("attention_dropout", *r.find("attention_dropout"), "Sherd has no dropout: 0 is expected");
  }
  if (r.number("partial_rotary_factor", 0, 1, 1.0) != 1) {
    throw r.wrong("partial_rotary_factor", *r.find("partial_rotary_factor"),
                  "Sherd rotates whole heads: 1 is expected");
  }
}

void read_shape(const Reader& r, ModelConfig& c) {
  c.vocab_size = r.integer("vocab_size", 1, kMaxDimension - 1);  // tokens are 32-bit
  c.hidden_size = r.integer("hidden_size", 1, kMaxDimension);
  c.layers = r.integer("num_hidden_layers", 1, kMaxLayers);
  c.heads = r.integer("num_attention_heads", 1, kMaxDimension);
  c.kv_heads = r.integer("num_key_value_heads", 1, kMaxDimension, c.heads);
  c.intermediate_size = r.integer("intermediate_size", 1, kMaxDimension);
  c.max_position = r.integer("max_position_embeddings", 1, kMaxDimension, 2048);
  if (c.heads % c.kv_heads != 0) {
    throw r.wrong("num_key_value_heads", *r.find("num_key_value_heads"),
                  fmt::format("a divisor of num_attention_heads {} is expected", c.heads));
  }
  if (!r.find("head_dim") && c.hidden_size % c.heads != 0) {
    throw r.wrong("hidden_size", *r.find("hidden_size"),
                  fmt::format("a multiple of num_attention_heads {} is expected, or a head_dim", c.heads));
  }
  c.head_dim = r.integer("head_dim", 1, kMaxDimension, c.hidden_size / c.heads);
  if (c.head_dim % 2 != 0) {
    throw bad_input("{}: head_dim is {}; an even number is expected, as rotary embeddings turn pairs", r.file(),
                    c.head_dim);
  }
  const auto f = [](std::int64_t n) { return static_cast<double>(n); };
  const double block =
      f(c.hidden_size) * (2 * f(c.head_dim) * (f(c.heads) + f(c.kv_heads)) + 3 * f(c.intermediate_size));
  const double all = f(c.layers) * block + 2 * f(c.vocab_size) * f(c.hidden_size);
  if (all > kMaxParameters) {
    throw bad_input("{}: these sizes make {:.3g} parameters; at most {:.0e} are expected", r.file(), all,
                    kMaxParameters);
  }
}

void read_rope_scaling(const Reader& r, const char* key, const JsonValue& v, ModelConfig& c) {
  if (!v.as<JsonObject>()) throw r.wrong(key, v, "an object or null is expected");
  const Reader scaling(v, r.file(), std::string(key) + ".");
  const char* type_key = scaling.find("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.string(type_key, "default");
  if (type == "llama3") {
    c.rope_llama3 = true;
    c.rope_factor = scaling.number("factor", 1, 1e6);
    c.rope_low_freq_factor = scaling.number("low_freq_factor", 1e-6, 1e6);
    c.rope_high_freq_factor = scaling.number("high_freq_factor", 1e-6, 1e6);
    c.rope_original_max_position = scaling.integer("original_max_position_embeddings", 1, kMaxDimension);
    if (c.rope_high_freq_factor <= c.rope_low_freq_factor) {
      throw scaling.wrong("high_freq_factor", *scaling.find("high_freq_factor"),
                          fmt::format("more than low_freq_factor {} is expected", c.rope_low_freq_factor));
    }
  } else if (type != "default") {
    throw scaling.wrong(type_key, *scaling.find(type_key), "Sherd computes \"default\" and \"llama3\" only");
  }
  const double theta = scaling.number("rope_theta", 1, 1e12, c.rope_theta);
  if (r.find("rope_theta") && theta != c.rope_theta) {
    throw scaling.wrong("rope_theta", *scaling.find("rope_theta"),
                        fmt::format("rope_theta beside it says {}; the two must agree", c.rope_theta));
  }
  c.rope_theta = theta;
}

void read_rope(const Reader& r, ModelConfig& c) {
  c.rope_theta = r.number("rope_theta", 1, 1e12, 10000.0);
  const JsonValue* older = r.find("rope_scaling");
  const JsonValue* newer = r.find("rope_parameters");
  if (older && newer && older->text() != newer->text()) {
    throw r.wrong("rope_scaling", *older, fmt::format("rope_parameters is {}; the two must agree", newer->text()));
  }
  if (newer) {
    read_rope_scaling(r, "rope_parameters", *newer, c);
  } else if (older) {
    read_rope_scaling(r, "rope_scaling", *older, c);
  }
}

}  // namespace

std::int64_t ModelConfig::parameters() const {
  const std::int64_t attention = 2 * hidden_size * head_dim * (heads + kv_heads);  // q, o and k, v
  const std::int64_t mlp = 3 * hidden_size * intermediate_size;
  const std::int64_t norms = 2 * hidden_size;
  const std::int64_t embedding = vocab_size * hidden_size;
  return layers * (attention + mlp + norms) + embedding * (tied_embeddings ? 1 : 2) + hidden_size;
}

double ModelConfig::flops_per_token(std::int64_t sequence) const {
  const std::int64_t gains = (2 * layers + 1) * hidden_size;
  const std::int64_t lookup = tied_embeddings ? 0 : vocab_size * hidden_size;  // a tied matrix is the head's product
  const auto multiplied = static_cast<double>(parameters() - gains - lookup);
  return 6 * multiplied + 6 * static_cast<double>(layers * heads * head_dim) * static_cast<double>(sequence);
}

ModelConfig load_model_config(const std::filesystem::path& path) {
  std::error_code ignored;  // whatever is wrong with the path, reading it says so
  const bool directory = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = directory ? path / "config.json" : path;
  const JsonValue root = config::parse_json(read_small_file(file), file.string());
  if (!root.as<JsonObject>()) throw bad_input("{}: {}; a JSON object is expected", file.string(), root.text());
  const Reader r(root, file.string());
  check_family(r);
  refuse_what_is_not_computed(r);
  ModelConfig c;
  read_shape(r, c);
  read_rope(r, c);
  c.rms_norm_eps = static_cast<float>(r.number("rms_norm_eps", 1e-12, 1, 1e-6));
  c.initializer_range = static_cast<float>(r.number("initializer_range", 0, 10, 0.02));
  c.tied_embeddings = r.boolean("tie_word_embeddings", false);
  c.bos_token = r.token("bos_token_id", c.vocab_size, 1);
  c.eos_token = r.token("eos_token_id", c.vocab_size, 2);
  return c;
}

// rope_theta and rope_scaling are what transformers 4 reads and what 5 still converts; torch_dtype likewise.
std::string to_config_json(const ModelConfig& c, const std::string& torch_dtype) {
  using config::json_number;
  const auto token = [](std::int64_t id) { return id < 0 ? std::string("null") : fmt::format("{}", id); };
  // A float's own shortest digits: 1e-05 and not the double nearest to it.
  const auto single = [](float x) { return json_number(std::stod(fmt::format("{}", x))); };
  std::string scaling = "null";
  if (c.rope_llama3) {
    scaling = fmt::format(
        R"({{"rope_type": "llama3", "factor": {}, "low_freq_factor": {}, "high_freq_factor": {},
    "original_max_position_embeddings": {}}})",
        json_number(c.rope_factor), json_number(c.rope_low_freq_factor), json_number(c.rope_high_freq_factor),
        c.rope_original_max_position);
  }
  std::string out = "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\"";
  const auto add = [&out](const char* key, const std::string& value) {
    out += fmt::format(",\n  \"{}\": {}", key, value);
  };
  add("vocab_size", std::to_string(c.vocab_size));
  add("hidden_size", std::to_string(c.hidden_size));
  add("intermediate_size", std::to_string(c.intermediate_size));
  add("num_hidden_layers", std::to_string(c.layers));
  add("num_attention_heads", std::to_string(c.heads));
  add("num_key_value_heads", std::to_string(c.kv_heads));
  add("head_dim", std::to_string(c.head_dim));
  add("hidden_act", "\"silu\"");
  add("max_position_embeddings", std::to_string(c.max_position));
  add("rms_norm_eps", single(c.rms_norm_eps));
  add("initializer_range", single(c.initializer_range));
  add("rope_theta", json_number(c.rope_theta));
  add("rope_scaling", scaling);
  add("tie_word_embeddings", c.tied_embeddings ? "true" : "false");
  add("attention_bias", "false");
  add("mlp_bias", "false");
  add("bos_token_id", token(c.bos_token));
  add("eos_token_id", token(c.eos_token));
  add("torch_dtype", config::json_quoted(torch_dtype));
  return out + "\n}\n";
}

}  // namespace sherd
