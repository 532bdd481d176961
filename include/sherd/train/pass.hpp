#pragma once
// Pass: one micro-batch through the sharded model, forward and backward, with activation checkpointing. The gathers and
// reductions are visible lines between the blocks' arithmetic.
#include <vector>

#include "sherd/model/llama.hpp"
#include "sherd/shard/sharded_model.hpp"

namespace sherd {

/// Which activations of the blocks are kept between forward and backward.
struct Recompute {
  enum class Mode { none, selective, segments } mode = Mode::selective;
  std::int64_t every = 1;  // segments: only the input of every `every`-th block is kept; 1 is "block"
};

/// One micro-batch on the device.
struct DeviceBatch {
  Tensor tokens, targets, doc_start;  // (B, T) i32
};

class Pass {
 public:
  Pass(ShardedModel& model, Ops& ops, Stream& compute, Arena& activations, const ModelConfig& config, Tensor rope_table,
       DType act, Recompute recompute, std::int64_t loss_chunk);

  /// loss (1) += sum of token losses / divisor (1), and its gradients into the model's, whose micro-batch is open.
  void train(const DeviceBatch& batch, Tensor loss, Tensor divisor);
  /// loss (1) += only.
  void evaluate(const DeviceBatch& batch, Tensor loss, Tensor divisor);
  /// logits (N, V) f32 of a batch: for tests.
  void logits(const DeviceBatch& batch, Tensor logits);

 private:
  using Root = const ShardedModel::Weights*;  // the tied unit, held all the time; null when embedding and head are two
  void train(const LlamaContext& ctx, const DeviceBatch& batch, HeadLoss loss, Root root);
  Residual embed_tokens(const LlamaContext& ctx, const DeviceBatch& batch, Root root);
  void forward_kept(const LlamaContext& ctx, Residual& io);
  void forward_segments(const LlamaContext& ctx, Residual& io, bool keep_inputs);
  void head_backward(const LlamaContext& ctx, const Residual& io, const HeadLoss& loss, Tensor g, Root root);
  void backward_kept(const LlamaContext& ctx, Tensor g);
  void backward_segment(const LlamaContext& ctx, std::int64_t segment, Tensor branch, Tensor g);
  void block_backward_and_reduce(const LlamaContext& ctx, const ShardedModel::Weights& w, const BlockSaved& saved,
                                 Tensor g, std::int64_t block);
  template <class Use>
  void forward_only(const DeviceBatch& batch, Use use);
  LlamaContext context(const DeviceBatch& batch) const;
  int head_unit() const { return config_.tied_embeddings ? 0 : model_.units() - 1; }
  static int unit_of(std::int64_t block) { return static_cast<int>(block) + 1; }

  ShardedModel& model_;
  Ops& ops_;
  Stream& compute_;
  Arena& activations_;
  const ModelConfig& config_;
  Tensor rope_table_;
  DType act_;
  Recompute recompute_;
  std::int64_t loss_chunk_;
  std::vector<BlockSaved> saved_;       // of the current micro-batch
  std::vector<Tensor> segment_inputs_;  // (N, C) each
  ShardedModel::Grads root_grads_;      // tied: written by the head, added to by the embedding, reduced once
};

}  // namespace sherd
