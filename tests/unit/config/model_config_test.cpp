// config.json texts as their publishers wrote them (keys that Sherd does not read left in), and each kind of bad one.
#include "sherd/config/model_config.hpp"

#include <fstream>

#include "thrown.hpp"

namespace sherd {
namespace {

class ModelConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::path(testing::TempDir()) / fmt::format("sherd_model_config_{}", info->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  ModelConfig load(const std::string& text) {
    std::ofstream(directory_ / "config.json") << text;
    return load_model_config(directory_);
  }
  std::string file() const { return (directory_ / "config.json").string(); }

  std::filesystem::path directory_;
};

std::string code_llama(int hidden, int layers, int heads, int kv_heads, int intermediate, int vocab, int max_position,
                       const std::string& theta) {
  return fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
  "hidden_size": {}, "initializer_range": 0.02, "intermediate_size": {}, "max_position_embeddings": {},
  "model_type": "llama", "num_attention_heads": {}, "num_hidden_layers": {}, "num_key_value_heads": {},
  "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": {}, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.33.0.dev0", "use_cache": true, "vocab_size": {}}})",
      hidden, intermediate, max_position, heads, layers, kv_heads, theta, vocab);
}

const std::string kLlama32_1B = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
  "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
  "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
  "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
  "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 128256})";

const std::string kSmolLM2_135M = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 0,
  "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
  "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "model_type": "llama",
  "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 49152})";

const std::string kTinyLlama = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632,
  "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 22,
  "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 32000})";

// The least that is a Llama: everything else by Hugging Face's defaults. `extra` goes in front.
std::string small(const std::string& extra = "") {
  return "{" + extra + (extra.empty() ? "" : ", ") +
         R"("model_type": "llama", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 96})";
}

std::string replaced(std::string text, const std::string& part, const std::string& by) {
  const std::size_t at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  return text.replace(at, part.size(), by);
}

TEST_F(ModelConfigTest, CodeLlama) {
  const ModelConfig c = load(code_llama(4096, 32, 32, 32, 11008, 32016, 16384, "1000000"));
  EXPECT_EQ(c.parameters(), 6738546688);
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.kv_heads, 32);
  EXPECT_EQ(c.max_position, 16384);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_EQ(c.rms_norm_eps, 1e-5f);
  EXPECT_FALSE(c.rope_llama3);
  EXPECT_FALSE(c.tied_embeddings);
  EXPECT_EQ(load(code_llama(5120, 40, 40, 40, 13824, 32016, 16384, "1000000")).parameters(), 13016028160);
  EXPECT_EQ(load(code_llama(8192, 48, 64, 8, 22016, 32000, 16384, "1000000")).parameters(), 33743970304);
  const ModelConfig instruct = load(code_llama(8192, 80, 64, 8, 28672, 32016, 4096, "10000"));
  EXPECT_EQ(instruct.parameters(), 68976910336);
  EXPECT_EQ(instruct.rope_theta, 1e4);
  EXPECT_EQ(instruct.max_position, 4096);
}

TEST_F(ModelConfigTest, LlamaThreeTwoWithScaledRope) {
  const ModelConfig c = load(kLlama32_1B);
  EXPECT_EQ(c.parameters(), 1235814400);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_TRUE(c.rope_llama3);
  EXPECT_EQ(c.rope_factor, 32);
  EXPECT_EQ(c.rope_low_freq_factor, 1);
  EXPECT_EQ(c.rope_high_freq_factor, 4);
  EXPECT_EQ(c.rope_original_max_position, 8192);
  EXPECT_EQ(c.rope_theta, 5e5);
  EXPECT_EQ(c.bos_token, 128000);
  EXPECT_EQ(c.eos_token, 128001);
}

TEST_F(ModelConfigTest, SmallLlamas) {
  const ModelConfig smol = load(kSmolLM2_135M);
  EXPECT_EQ(smol.parameters(), 134515008);
  EXPECT_EQ(smol.head_dim, 64);
  EXPECT_FLOAT_EQ(smol.initializer_range, 1.0f / 24);
  EXPECT_EQ(load(kTinyLlama).parameters(), 1100048384);
}

TEST_F(ModelConfigTest, OldFilesGetHuggingFaceDefaults) {
  const ModelConfig c = load(small());
  EXPECT_EQ(c.kv_heads, 4);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.max_position, 2048);
  EXPECT_EQ(c.rms_norm_eps, 1e-6f);
  EXPECT_EQ(c.bos_token, 1);
  EXPECT_EQ(c.eos_token, 2);
  EXPECT_FALSE(c.tied_embeddings);
  // By hand: 2 x (4 x 64 x 64 + 3 x 64 x 96 + 2 x 64) + 2 x 100 x 64 + 64.
  EXPECT_EQ(c.parameters(), 82752);
}

TEST_F(ModelConfigTest, FileOrDirectory) {
  load(small());
  EXPECT_EQ(load_model_config(directory_ / "config.json").hidden_size, 64);
}

TEST_F(ModelConfigTest, RopeParametersOfTransformersFive) {
  const ModelConfig c = load(small(R"("rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
      "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})"));
  EXPECT_TRUE(c.rope_llama3);
  EXPECT_EQ(c.rope_theta, 5e5);
  EXPECT_EQ(c.rope_factor, 8);
  const ModelConfig plain = load(small(R"("rope_parameters": {"rope_type": "default", "rope_theta": 1000000})"));
  EXPECT_FALSE(plain.rope_llama3);
  EXPECT_EQ(plain.rope_theta, 1e6);
  EXPECT_THROWS(load(small(R"("rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6})")),
                ExitCode::bad_input, "the two must agree");
}

TEST_F(ModelConfigTest, HeadDimNeedNotDivideTheHiddenSize) {
  const ModelConfig c = load(small(R"("head_dim": 32, "num_key_value_heads": 2)"));
  EXPECT_EQ(c.head_dim, 32);
  // By hand: 2 x (64 x 32 x (4 + 2 + 2 + 4) + 3 x 64 x 96 + 2 x 64) + 2 x 100 x 64 + 64.
  EXPECT_EQ(c.parameters(), 2 * (64 * 32 * 12 + 3 * 64 * 96 + 128) + 12800 + 64);
}

TEST_F(ModelConfigTest, TokensMayBeListsOrNone) {
  const ModelConfig c = load(small(R"("bos_token_id": null, "eos_token_id": [7, 8])"));
  EXPECT_EQ(c.bos_token, -1);
  EXPECT_EQ(c.eos_token, 7);
  EXPECT_THROWS(load(small(R"("eos_token_id": 100)")), ExitCode::bad_input, "eos_token_id is 100");
  EXPECT_THROWS(load(small(R"("eos_token_id": [])")), ExitCode::bad_input, "eos_token_id is []");
}

TEST_F(ModelConfigTest, FlopsPerToken) {
  // By hand: two blocks of 4 x 64 x 64 + 3 x 64 x 96 and the head's 100 x 64, forward and backward; causal attention.
  const double products = 6.0 * (2 * (4 * 64 * 64 + 3 * 64 * 96) + 6400);
  const double attention = 6.0 * 2 * 64 * 128;
  EXPECT_EQ(load(small()).flops_per_token(128), products + attention);
  EXPECT_EQ(load(small(R"("tie_word_embeddings": true)")).flops_per_token(128), products + attention);
}

TEST_F(ModelConfigTest, WritesWhatItReads) {
  for (const std::string& text : {kLlama32_1B, kSmolLM2_135M, small(R"("bos_token_id": null)")}) {
    const ModelConfig a = load(text);
    const std::string written = to_config_json(a, "bfloat16");
    const ModelConfig b = load(written);
    EXPECT_EQ(written, to_config_json(b, "bfloat16"));
    EXPECT_EQ(a.parameters(), b.parameters());
    EXPECT_EQ(a.rope_llama3, b.rope_llama3);
    EXPECT_EQ(a.rope_theta, b.rope_theta);
    EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
    EXPECT_EQ(a.initializer_range, b.initializer_range);
    EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
    EXPECT_EQ(a.bos_token, b.bos_token);
  }
  const std::string written = to_config_json(load(kLlama32_1B), "bfloat16");
  for (const char* part : {R"("architectures": ["LlamaForCausalLM"])", R"("rope_theta": 500000.0)",
                           R"("rms_norm_eps": 1e-05)", R"("torch_dtype": "bfloat16")", R"("factor": 32.0)"}) {
    EXPECT_NE(written.find(part), std::string::npos) << part << "\n" << written;
  }
}

TEST_F(ModelConfigTest, RefusesWhatIsNotComputed) {
  const auto refuses = [this](const std::string& extra, const std::string& part) {
    EXPECT_THROWS(load(small(extra)), ExitCode::bad_input, part);
    EXPECT_THROWS(load(small(extra)), ExitCode::bad_input, file());
  };
  refuses(R"("attention_bias": true)", "attention_bias is true");
  refuses(R"("mlp_bias": true)", "mlp_bias is true");
  refuses(R"("hidden_act": "gelu")", "hidden_act is \"gelu\"");
  refuses(R"("quantization_config": {"bits": 4})", "quantization_config is {\"bits\": 4}");
  refuses(R"("attention_dropout": 0.1)", "attention_dropout is 0.1");
  refuses(R"("partial_rotary_factor": 0.5)", "partial_rotary_factor is 0.5");
  refuses(R"("architectures": ["LlamaForSequenceClassification"])", "LlamaForCausalLM");
  refuses(R"("rope_scaling": {"type": "linear", "factor": 2.0})", "rope_scaling.type is \"linear\"");
  refuses(R"("rope_scaling": {"rope_type": "yarn", "factor": 2.0})", "rope_scaling.rope_type is \"yarn\"");
  refuses(R"("rope_parameters": {"rope_type": "dynamic", "factor": 2.0})", "rope_parameters.rope_type is \"dynamic\"");
  EXPECT_THROWS(load(replaced(small(), "\"llama\"", "\"mistral\"")), ExitCode::bad_input, "model_type is \"mistral\"");
  EXPECT_THROWS(load(replaced(small(), "\"model_type\": \"llama\",", "")), ExitCode::bad_input,
                "neither model_type nor architectures");
}

TEST_F(ModelConfigTest, RefusesBadValues) {
  const auto refuses = [this](const std::string& from, const std::string& to, const std::string& part) {
    EXPECT_THROWS(load(replaced(small(), from, to)), ExitCode::bad_input, part);
  };
  refuses("\"hidden_size\": 64", "\"hidden_size\": \"64\"", "hidden_size is \"64\"; an integer from 1");
  refuses("\"hidden_size\": 64", "\"hidden_size\": 64.0", "hidden_size is 64.0");
  refuses("\"hidden_size\": 64", "\"hidden_size\": 0", "hidden_size is 0");
  refuses("\"hidden_size\": 64", "\"hidden_size\": -64", "hidden_size is -64");
  refuses("\"hidden_size\": 64", "\"hidden_size\": 66", "hidden_size is 66; a multiple of num_attention_heads 4");
  refuses("\"hidden_size\": 64", "\"hidden_size\": 60", "head_dim is 15; an even number");
  refuses("\"vocab_size\": 100", "\"vocab_size\": 99999999999999999999", "vocab_size is 1e+20");
  refuses("\"vocab_size\": 100", "\"vocab_size\": 2147483648", "vocab_size is 2147483648");
  refuses("\"vocab_size\": 100,", "", "vocab_size is missing");
  refuses("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 65537", "num_hidden_layers is 65537");
  refuses("\"hidden_size\": 64", "\"hidden_size\": 64, \"hidden_size\": 128", "\"hidden_size\" appears twice");
  refuses("\"hidden_size\": 64, \"num_hidden_layers\": 2", "\"hidden_size\": 2147483648, \"num_hidden_layers\": 65536",
          "parameters; at most");
  EXPECT_THROWS(load(small("\"num_key_value_heads\": 3")), ExitCode::bad_input, "a divisor of num_attention_heads 4");
  EXPECT_THROWS(load(small("\"rope_theta\": 0")), ExitCode::bad_input, "rope_theta is 0");
  EXPECT_THROWS(load(small("\"rms_norm_eps\": -1e-5")), ExitCode::bad_input, "rms_norm_eps is -1e-05");
  EXPECT_THROWS(load(small("\"tie_word_embeddings\": 1")), ExitCode::bad_input,
                "tie_word_embeddings is 1; true or false");
  EXPECT_THROWS(load(small("\"rope_scaling\": 2")), ExitCode::bad_input, "rope_scaling is 2; an object");
  EXPECT_THROWS(load(small(R"("rope_scaling": {"rope_type": "llama3"})")), ExitCode::bad_input,
                "rope_scaling.factor is missing");
  EXPECT_THROWS(load(small(R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
      "high_freq_factor": 4, "original_max_position_embeddings": 8192})")),
                ExitCode::bad_input, "rope_scaling.high_freq_factor is 4; more than low_freq_factor 4");
}

TEST_F(ModelConfigTest, RefusesWhatIsNoSuchFile) {
  EXPECT_THROWS(load_model_config(directory_ / "absent"), ExitCode::bad_input, "No such file");
  EXPECT_THROWS(load_model_config(directory_), ExitCode::bad_input, "config.json: No such file");
  EXPECT_THROWS(load(""), ExitCode::bad_input, "no valid JSON");
  EXPECT_THROWS(load(small() + "x"), ExitCode::bad_input, "no valid JSON at byte");
  EXPECT_THROWS(load(small().substr(0, 50)), ExitCode::bad_input, "no valid JSON");
  EXPECT_THROWS(load("[1, 2]"), ExitCode::bad_input, "[1, 2]; a JSON object is expected");
  EXPECT_THROWS(load(std::string(100000, '[')), ExitCode::bad_input, "nested deeper than 32");
  EXPECT_THROWS(load(std::string((1 << 20) + 1, ' ')), ExitCode::bad_input, "at most 1048576");
}

}  // namespace
}  // namespace sherd
