#include "sherd/train/pass.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"

namespace sherd {

Pass::Pass(ShardedModel& model, Ops& ops, Stream& compute, Arena& activations, const ModelConfig& config,
           Tensor rope_table, DType act, Recompute recompute, std::int64_t loss_chunk, bool fp8)
    : model_(model),
      ops_(ops),
      compute_(compute),
      activations_(activations),
      config_(config),
      rope_table_(rope_table),
      act_(act),
      recompute_(recompute),
      loss_chunk_(loss_chunk),
      fp8_(fp8),
      saved_(static_cast<std::size_t>(config.layers)),
      segment_inputs_(static_cast<std::size_t>(div_up(config.layers, recompute.every))) {}

LlamaContext Pass::context(const DeviceBatch& batch) const {
  return {ops_,
          compute_,
          activations_,
          config_,
          act_,
          rope_table_,
          batch.doc_start,
          batch.tokens.dim[0],
          batch.tokens.dim[1],
          fp8_};
}

void Pass::train(const DeviceBatch& batch, Tensor loss, Tensor divisor) {
  const Arena::Scope micro_batch(activations_);
  const LlamaContext ctx = context(batch);
  const HeadLoss head{batch.targets, loss, divisor, loss_chunk_};
  if (!config_.tied_embeddings) return train(ctx, batch, head, nullptr);
  const ShardedModel::Weights root = model_.use(0);
  train(ctx, batch, head, &root);
}

void Pass::train(const LlamaContext& ctx, const DeviceBatch& batch, HeadLoss loss, Root root) {
  const bool segments = recompute_.mode == Recompute::Mode::segments;
  Residual io;
  {
    const StreamRange range(compute_, "forward");
    io = embed_tokens(ctx, batch, root);
    segments ? forward_segments(ctx, io, true) : forward_kept(ctx, io);
  }
  const StreamRange range(compute_, "backward");
  const Tensor g = activations_.take(act_, {ctx.N(), config_.hidden_size});  // (N, C) dL/d(stream)
  head_backward(ctx, io, loss, g, root);
  if (!segments) backward_kept(ctx, g);
  for (std::int64_t s = segments ? std::ssize(segment_inputs_) : 0; s-- > 0;) backward_segment(ctx, s, io.branch, g);
  const ShardedModel::Grads grads = root != nullptr ? root_grads_ : model_.grads(0);
  embed_backward(ctx, batch.tokens, g, grads.all[0], root != nullptr ? 1.0f : grads.beta);
  model_.reduce(0);
}

Residual Pass::embed_tokens(const LlamaContext& ctx, const DeviceBatch& batch, Root root) {
  if (root != nullptr) {
    model_.prefetch_after(0, model_.units() - 1);
    return embed(ctx, batch.tokens, (*root)[0]);
  }
  const ShardedModel::Weights w = model_.use(0);
  model_.prefetch_after(0, model_.units() - 1);
  return embed(ctx, batch.tokens, w[0]);
}

void Pass::forward_kept(const LlamaContext& ctx, Residual& io) {
  const Keep keep = recompute_.mode == Recompute::Mode::none ? Keep::all : Keep::selective;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    const ShardedModel::Weights w = model_.use(unit_of(i));
    model_.prefetch_after(unit_of(i), model_.units() - 1);
    BlockSaved& saved = saved_[static_cast<std::size_t>(i)];
    saved = take_saved(ctx, keep, io.pending ? Tensor{} : io.stream);
    block_forward(ctx, BlockTensors::bind(w.all()), io, saved);
  }
}

/// Keeps the inputs of segments and all scales (or nothing, for evaluation); all else of a block is scratch, but for
/// the stream that travels on in `carry`.
void Pass::forward_segments(const LlamaContext& ctx, Residual& io, bool keep_inputs) {
  const Tensor carry = activations_.take(act_, {ctx.N(), config_.hidden_size});
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    const ShardedModel::Weights w = model_.use(unit_of(i));
    model_.prefetch_after(unit_of(i), model_.units() - 1);
    Tensor x = io.pending ? Tensor{} : io.stream;
    if (keep_inputs && i % recompute_.every == 0) {
      if (!x) x = activations_.take(act_, {ctx.N(), config_.hidden_size});
      segment_inputs_[static_cast<std::size_t>(i / recompute_.every)] = x;
    }
    const BlockScales scales = keep_inputs ? take_scales(ctx) : BlockScales{};
    const Arena::Scope scratch(activations_);
    BlockSaved saved = take_saved(ctx, Keep::selective, x, carry, scales);
    block_forward(ctx, BlockTensors::bind(w.all()), io, saved);
    if (keep_inputs) saved_[static_cast<std::size_t>(i)].scales = saved.scales;
  }
}

void Pass::head_backward(const LlamaContext& ctx, const Residual& io, const HeadLoss& loss, Tensor g, Root root) {
  if (root != nullptr) {
    root_grads_ = model_.grads(0);
    const HeadTensors w{(*root)[1], (*root)[0]}, grads{root_grads_.all[1], root_grads_.all[0]};
    return head_forward_backward(ctx, w, io, loss, g, grads, root_grads_.beta);
  }
  {
    const ShardedModel::Weights w = model_.use(head_unit());
    model_.prefetch_after(head_unit(), unit_of(0));
    const ShardedModel::Grads grads = model_.grads(head_unit());
    head_forward_backward(ctx, {w[0], w[1]}, io, loss, g, {grads.all[0], grads.all[1]}, grads.beta);
  }
  model_.reduce(head_unit());
}

void Pass::block_backward_and_reduce(const LlamaContext& ctx, const ShardedModel::Weights& w, const BlockSaved& saved,
                                     Tensor g, std::int64_t block) {
  const ShardedModel::Grads grads = model_.grads(unit_of(block));
  block_backward(ctx, BlockTensors::bind(w.all()), saved, g, {BlockTensors::bind(grads.all), grads.beta});
  model_.reduce(unit_of(block));
}

void Pass::backward_kept(const LlamaContext& ctx, Tensor g) {
  for (std::int64_t i = config_.layers; i-- > 0;) {
    const ShardedModel::Weights w = model_.use(unit_of(i));
    model_.prefetch_after(unit_of(i), unit_of(0));
    block_backward_and_reduce(ctx, w, saved_[static_cast<std::size_t>(i)], g, i);
  }
}

/// Forward again through a segment's blocks from its input, then backward through them. The last block goes straight
/// from one to the other.
void Pass::backward_segment(const LlamaContext& ctx, std::int64_t segment, Tensor branch, Tensor g) {
  const Arena::Scope scratch(activations_);
  const std::int64_t first = segment * recompute_.every, last = std::min(first + recompute_.every, config_.layers) - 1;
  // Backward goes from block i to the one before it, or on to the start of the segment before.
  const auto after = [&](std::int64_t i) { return i > first ? i - 1 : first - recompute_.every; };
  const auto prefetch = [&](std::int64_t block) {
    if (block >= 0) model_.prefetch(unit_of(block));
  };
  Residual io{segment_inputs_[static_cast<std::size_t>(segment)], branch, false};
  for (std::int64_t i = first; i <= last; ++i) {
    const ShardedModel::Weights w = model_.use(unit_of(i));
    prefetch(i < last ? i + 1 : after(i));
    BlockSaved& saved = saved_[static_cast<std::size_t>(i)];
    saved = take_saved(ctx, Keep::all, io.pending ? Tensor{} : io.stream, {}, saved.scales);
    block_forward(ctx, BlockTensors::bind(w.all()), io, saved, i < last);
    if (i == last) block_backward_and_reduce(ctx, w, saved, g, i);
  }
  for (std::int64_t i = last; i-- > first;) {
    const ShardedModel::Weights w = model_.use(unit_of(i));
    prefetch(after(i));
    block_backward_and_reduce(ctx, w, saved_[static_cast<std::size_t>(i)], g, i);
  }
}

/// Forward that keeps nothing; `use(ctx, head weights, io)` gets its end.
template <class Use>
void Pass::forward_only(const DeviceBatch& batch, Use use) {
  const Arena::Scope micro_batch(activations_);
  const LlamaContext ctx = context(batch);
  const auto run = [&](Root root) {
    Residual io = embed_tokens(ctx, batch, root);
    forward_segments(ctx, io, false);
    if (root != nullptr) return use(ctx, HeadTensors{(*root)[1], (*root)[0]}, io);
    const ShardedModel::Weights w = model_.use(head_unit());
    model_.prefetch(0);  // of the next batch
    return use(ctx, HeadTensors{w[0], w[1]}, io);
  };
  if (!config_.tied_embeddings) return run(nullptr);
  const ShardedModel::Weights root = model_.use(0);
  run(&root);
}

void Pass::evaluate(const DeviceBatch& batch, Tensor loss, Tensor divisor) {
  forward_only(batch, [&](const LlamaContext& ctx, const HeadTensors& w, const Residual& io) {
    head_forward(ctx, w, io, {batch.targets, loss, divisor, loss_chunk_});
  });
}

void Pass::logits(const DeviceBatch& batch, Tensor logits) {
  forward_only(batch, [&](const LlamaContext& ctx, const HeadTensors& w, const Residual& io) {
    head_logits(ctx, w, io, logits);
  });
}

}  // namespace sherd
