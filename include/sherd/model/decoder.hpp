#pragma once
// Decoder: a whole Llama in one memory, and the keys and values of the tokens seen so far, so that each further token
// costs one row of arithmetic. Everything is f32. P is the capacity in tokens, W at most kDecoderRows of them at once.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "sherd/model/llama.hpp"
#include "sherd/model/param_spec.hpp"

namespace sherd {

/// Tokens that go through the blocks at once: products of this many rows are near their full rate.
constexpr std::int64_t kDecoderRows = 64;

class Decoder {
 public:
  /// Elements [first, first + out.size()) of a parameter.
  using ReadParam = std::function<void(const ParamSpec& param, std::int64_t first, std::span<float> out)>;

  /// Bytes of an arena that holds the workspace of the ops (Backend::workspace_bytes) and then a decoder, found by
  /// taking them.
  static std::size_t arena_bytes(const ModelConfig& config, std::int64_t capacity, std::int64_t workspace_bytes);

  Decoder(Ops& ops, Stream& stream, Arena& arena, const ModelConfig& config, std::int64_t capacity);
  /// Fills every parameter, through a buffer of 4 MiB.
  void load(const ReadParam& read);

  /// Adds tokens to the sequence, at most capacity() in all. Returns the logits (V) after the last of them.
  std::vector<float> append(std::span<const std::int32_t> tokens);
  /// Forgets all tokens but the first `length`: another continuation of one prompt.
  void rewind(std::int64_t length);

  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }

 private:
  struct Scratch {
    Tensor tokens, doc_start;             // (W) i32; doc_start is 0
    Tensor stream, next, normed, branch;  // (W, C)
    Tensor qkv;                           // (W, (H + 2 K) D)
    Tensor attended;                      // (W, H D)
    Tensor gate_up, gated;                // (W, 2 F), (W, F)
    Tensor logits;                        // (1, V)
    Scratch rows(std::int64_t count) const;
  };
  void take_scratch(Arena& arena);
  void run(std::span<const std::int32_t> tokens);
  void block(const BlockTensors& w, Tensor cache, Scratch& t, bool first);
  void attend(Tensor cache, const Scratch& t);
  HeadTensors head() const;
  Heads heads() const { return {config_.heads, config_.kv_heads, config_.head_dim}; }

  Ops& ops_;
  Stream& stream_;
  ModelConfig config_;
  std::int64_t capacity_, length_ = 0;
  std::vector<UnitSpec> units_;
  std::vector<std::vector<Tensor>> params_;  // as units_
  std::vector<Tensor> caches_;               // per block (1, P, 2 K D): keys, then values
  Tensor rope_table_;                        // (P, D/2, 2)
  Scratch scratch_;
};

}  // namespace sherd
