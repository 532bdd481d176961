#include "sherd/model/decoder.hpp"

#include <algorithm>
#include <utility>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kTransferElements = std::int64_t{1} << 20;

/// The parameters of a unit; the members of a fusion group lie side by side.
std::vector<Tensor> take_params(Arena& arena, const UnitSpec& unit) {
  std::vector<Tensor> all;
  for (auto begin = unit.params.begin(); begin != unit.params.end();) {
    auto end = begin + 1;
    while (end != unit.params.end() && !begin->fusion.empty() && end->fusion == begin->fusion) ++end;
    std::int64_t elements = 0;
    for (auto p = begin; p != end; ++p) elements += p->numel();
    const Tensor group = arena.take(DType::f32, {elements});
    std::int64_t first = 0;
    for (; begin != end; ++begin) {
      all.push_back(group.flat(first, begin->numel()).view(begin->shape));
      first += begin->numel();
    }
  }
  return all;
}

}  // namespace

std::size_t Decoder::arena_bytes(const ModelConfig& config, std::int64_t capacity, std::int64_t workspace_bytes) {
  cpu::Options nothing_runs;
  nothing_runs.plan_only = true;
  cpu::Device device(nothing_runs);
  const std::unique_ptr<Stream> stream = device.stream("plan", StreamKind::compute);
  Arena measured = Arena::measure("decoder"), beside = Arena::measure("workspace of ops that do nothing");
  const std::unique_ptr<Ops> ops = cpu::make_ops(beside.take(DType::f32, {cpu::kWorkspaceBytes / 4}));
  measured.take(DType::f32, {workspace_bytes / 4});
  const Decoder planned(*ops, *stream, measured, config, capacity);
  return measured.high_water();
}

Decoder::Decoder(Ops& ops, Stream& stream, Arena& arena, const ModelConfig& config, std::int64_t capacity)
    : ops_(ops), stream_(stream), config_(config), capacity_(capacity), units_(llama_units(config)) {
  SHERD_CHECK(capacity > 0, "a decoder of {} tokens", capacity);
  for (const UnitSpec& unit : units_) params_.push_back(take_params(arena, unit));
  for (std::int64_t i = 0; i < config.layers; ++i) {
    caches_.push_back(arena.take(DType::f32, {1, capacity, 2 * config.kv_heads * config.head_dim}));
  }
  rope_table_ = make_rope_table(ops, stream, arena, config, capacity);
  take_scratch(arena);
}

void Decoder::take_scratch(Arena& arena) {
  const std::int64_t W = std::min(kDecoderRows, capacity_), C = config_.hidden_size, F = config_.intermediate_size;
  const auto take = [&](std::int64_t cols) { return arena.take(DType::f32, {W, cols}); };
  scratch_.tokens = arena.take(DType::i32, {W});
  scratch_.doc_start = arena.take(DType::i32, {W});
  ops_.fill(scratch_.doc_start, 0, stream_);
  scratch_.stream = take(C);
  scratch_.next = take(C);
  scratch_.normed = take(C);
  scratch_.branch = take(C);
  scratch_.qkv = take(heads().packed());
  scratch_.attended = take(config_.heads * config_.head_dim);
  scratch_.gate_up = take(2 * F);
  scratch_.gated = take(F);
  scratch_.logits = arena.take(DType::f32, {1, config_.vocab_size});
}

Decoder::Scratch Decoder::Scratch::rows(std::int64_t count) const {
  Scratch t = *this;
  t.tokens = tokens.flat(0, count);
  t.doc_start = doc_start.flat(0, count);
  for (Tensor* m : {&t.stream, &t.next, &t.normed, &t.branch, &t.qkv, &t.attended, &t.gate_up, &t.gated}) {
    *m = m->row_range(0, count);
  }
  return t;
}

void Decoder::load(const ReadParam& read) {
  std::vector<float> buffer;
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    for (std::size_t p = 0; p < params_[unit].size(); ++p) {
      const Tensor to = params_[unit][p];
      for (std::int64_t first = 0; first < to.numel(); first += kTransferElements) {
        const std::int64_t count = std::min(kTransferElements, to.numel() - first);
        buffer.resize(narrow<std::size_t>(count));
        read(units_[unit].params[p], first, buffer);
        ops_.upload(std::as_bytes(std::span(buffer)), to.flat(first, count), stream_);
        stream_.synchronize();  // the buffer is used again
      }
    }
  }
}

void Decoder::rewind(std::int64_t length) {
  SHERD_CHECK(length >= 0 && length <= length_, "rewound from {} tokens to {}", length_, length);
  length_ = length;
}

std::vector<float> Decoder::append(std::span<const std::int32_t> tokens) {
  SHERD_CHECK(!tokens.empty() && std::ssize(tokens) <= capacity_ - length_, "{} tokens after {} of {}", tokens.size(),
              length_, capacity_);
  for (const std::int32_t token : tokens) {
    SHERD_CHECK(token >= 0 && token < config_.vocab_size, "token {} of {}", token, config_.vocab_size);
  }
  for (std::size_t at = 0; at < tokens.size();) {
    const std::size_t count = std::min<std::size_t>(kDecoderRows, tokens.size() - at);
    run(tokens.subspan(at, count));
    at += count;
    length_ += narrow<std::int64_t>(count);
  }
  std::vector<float> logits(narrow<std::size_t>(config_.vocab_size));
  ops_.download(scratch_.logits, std::as_writable_bytes(std::span(logits)), stream_);
  stream_.synchronize();
  return logits;
}

HeadTensors Decoder::head() const {
  if (config_.tied_embeddings) return {params_.front()[1], params_.front()[0]};
  return {params_.back()[0], params_.back()[1]};
}

void Decoder::run(std::span<const std::int32_t> tokens) {
  const std::int64_t rows = std::ssize(tokens);
  Scratch t = scratch_.rows(rows);
  ops_.upload(std::as_bytes(tokens), t.tokens, stream_);
  ops_.embedding(t.tokens, params_.front()[0], t.stream, stream_);
  for (std::size_t i = 0; i < caches_.size(); ++i) block(BlockTensors::bind(params_[i + 1]), caches_[i], t, i == 0);
  const HeadTensors w = head();
  const auto last = [&](Tensor m) { return m.row_range(rows - 1, 1); };
  ops_.rmsnorm_residual(last(t.stream), last(t.branch), w.norm, config_.rms_norm_eps, last(t.next), last(t.normed), {},
                        stream_);
  ops_.linear(last(t.normed), w.output, scratch_.logits, stream_);
  stream_.synchronize();  // the caller's tokens have been read
}

/// As block_forward; t.stream and t.branch are the residual entering, then leaving.
void Decoder::block(const BlockTensors& w, Tensor cache, Scratch& t, bool first) {
  const float eps = config_.rms_norm_eps;
  const auto add_and_norm = [&](Tensor gain) {
    ops_.rmsnorm_residual(t.stream, t.branch, gain, eps, t.next, t.normed, {}, stream_);
    std::swap(t.stream, t.next);
  };
  if (first) {
    ops_.rmsnorm(t.stream, w.norm_in, eps, t.normed, {}, stream_);
  } else {
    add_and_norm(w.norm_in);
  }
  ops_.linear(t.normed, w.qkv, t.qkv, stream_);
  attend(cache, t);
  ops_.linear(t.attended, w.out, t.branch, stream_);
  add_and_norm(w.norm_post);
  ops_.linear(t.normed, w.gate_up, t.gate_up, stream_);
  ops_.swiglu(t.gate_up, t.gated, stream_);
  ops_.linear(t.gated, w.down, t.branch, stream_);
}

/// Rotates the new rows by their positions, adds their keys and values to the cache, and lets row i see what precedes
/// it.
void Decoder::attend(Tensor cache, const Scratch& t) {
  const std::int64_t rows = t.qkv.dim[0], D = config_.head_dim, q_cols = config_.heads * D, kv = config_.kv_heads * D;
  const Tensor turns = rope_table_.flat(length_ * D, rows * D).view({rows, D / 2, 2});
  ops_.rope(t.qkv.view({1, rows, heads().packed()}), t.doc_start.view({1, rows}), turns, heads(), false, stream_);
  for (std::int64_t i = 0; i < rows; ++i) {
    const Tensor row = t.qkv.row_range(i, 1);
    const std::int64_t position = length_ + i;
    ops_.cast(row.col_range(q_cols, 2 * kv), cache.flat(position * 2 * kv, 2 * kv), stream_);
    ops_.attention_decode(row.col_range(0, q_cols), cache.col_range(0, kv), cache.col_range(kv, kv), position + 1,
                          heads(), t.attended.row_range(i, 1), stream_);
  }
}

}  // namespace sherd
