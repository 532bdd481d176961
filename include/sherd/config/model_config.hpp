#pragma once
// ModelConfig: a Llama's shape, read from a Hugging Face config.json and checked once. Nothing is hard-coded per model:
// derivatives of one model differ (CodeLlama-70B-Instruct has another theta than the base).
#include <cstdint>
#include <filesystem>
#include <string>

namespace sherd {

struct ModelConfig {
  std::int64_t vocab_size = 0;         // V, rows of the embedding
  std::int64_t hidden_size = 0;        // C
  std::int64_t layers = 0;             // L
  std::int64_t heads = 0;              // H
  std::int64_t kv_heads = 0;           // K; H % K == 0
  std::int64_t head_dim = 0;           // D; hidden_size / heads unless the file says otherwise
  std::int64_t intermediate_size = 0;  // F
  std::int64_t max_position = 0;       // longest sequence the model was made for
  float rms_norm_eps = 1e-5f;
  double rope_theta = 10000.0;
  bool rope_llama3 = false;  // rope_scaling of type llama3, with the four numbers below
  double rope_factor = 1.0, rope_low_freq_factor = 1.0, rope_high_freq_factor = 4.0;
  std::int64_t rope_original_max_position = 8192;
  bool tied_embeddings = false;
  float initializer_range = 0.02f;
  std::int64_t bos_token = 1, eos_token = 2;  // negative: none

  std::int64_t parameters() const;  // logical elements, tied weights once
  /// Floating-point operations of forward and backward per token at sequence length s: 6 N_matmul + 6 L H D s (causal).
  double flops_per_token(std::int64_t sequence) const;
};

/// Reads and checks config.json (or a directory that holds it). Refuses what Sherd does not compute: attention or mlp
/// biases, other activations, other rope scalings, quantized weights; each by the key and the value found.
ModelConfig load_model_config(const std::filesystem::path& path);
/// The config.json that load_model_config reads back, and that Hugging Face's loaders accept.
std::string to_config_json(const ModelConfig& config, const std::string& torch_dtype);

}  // namespace sherd
