#include "sherd/train/rig.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/config/validate.hpp"

namespace sherd {
namespace {

Recompute recompute_of(const TrainConfig& config) {
  const ActivationCheckpointing a = parse_activation_checkpointing(config.activation_checkpointing);
  using Mode = ActivationCheckpointing::Mode;
  if (a.mode == Mode::none) return {Recompute::Mode::none, 1};
  if (a.mode == Mode::selective) return {Recompute::Mode::selective, 1};
  return {Recompute::Mode::segments, a.every};
}

Tensor take_attention_slab(const ModelConfig& config, const RigOptions& o, Arena& persistent) {
  if (o.attention_slab_bytes == nullptr) return {};
  const std::int64_t bytes =
      o.attention_slab_bytes(o.step.batch, o.step.length, {config.heads, config.kv_heads, config.head_dim});
  return persistent.take(DType::f32, {div_up(bytes, 4)});
}

StepOptions settled(const RigOptions& options, const ModelConfig& config) {
  StepOptions step = options.step;
  if (step.loss_chunk == 0) step.loss_chunk = logits_rows(*options.backend, config.vocab_size);
  return step;
}

}  // namespace

RigOptions rig_options(const TrainConfig& c) {
  RigOptions o;
  o.shard.param_dtype = dtype_from_name(c.dtype);
  o.shard.reduce_dtype = dtype_from_name(c.reduce_dtype);
  o.shard.prefetch = narrow<int>(c.prefetch);
  o.shard.moments_dtype = c.moments_dtype == "8bit" ? DType::u8 : dtype_from_name(c.moments_dtype);
  o.shard.split_master = c.master_weights == "split";
  o.shard.grad_dtype = dtype_from_name(c.gradients_dtype);
  o.shard.optimizer_in_backward = c.optimizer_in_backward;
  o.step.batch = c.batch_size_per_device;
  o.step.length = c.max_seq_length;
  o.step.accumulation = c.gradient_accumulation_steps;
  o.step.act = o.shard.param_dtype;
  o.step.fp8 = c.fp8;
  o.step.recompute = recompute_of(c);
  o.step.max_grad_norm = static_cast<float>(c.max_grad_norm);
  o.step.adamw = {static_cast<float>(c.adam_beta1), static_cast<float>(c.adam_beta2), static_cast<float>(c.adam_eps)};
  o.step.weight_decay = static_cast<float>(c.weight_decay);
  o.step.decay_all = c.preset == "demo-compat";
  o.step.mean_per_micro_batch = c.preset == "demo-compat";
  o.step.record = c.cuda_graphs;
  o.step.seed = static_cast<std::uint64_t>(c.seed);
  o.backend = &backend_of(c.device);
  if (c.attention == "auto" && o.step.act == DType::bf16)
    o.attention_slab_bytes = backend_of(c.device).attention_slab_bytes;
  return o;
}

Rig::Rig(Device& device, const Makers& makers, const ModelConfig& config, const RigOptions& options, RigMemory memory)
    : device_(device),
      persistent_(std::move(memory.persistent)),
      activations_(std::move(memory.activations)),
      mesh_(makers.mesh(persistent_)),
      attention_slab_(take_attention_slab(config, options, persistent_)),
      ops_(makers.ops(persistent_.take(DType::f32, {options.backend->workspace_bytes / 4}))),
      compute_(device.stream("compute", StreamKind::compute)),
      comm_(device.stream("comm", StreamKind::communication)),
      model_({device, *ops_, *compute_, *comm_, *mesh_.shard, *mesh_.replicate}, llama_units(config), options.shard,
             persistent_),
      step_({device, *ops_, *compute_, *comm_, *mesh_.world, model_}, config, settled(options, config), persistent_,
            activations_) {}

std::string Rig::choose_algorithms(const AlgorithmNeeds& needs, std::string_view known) {
  return ops_->choose_algorithms(needs, known, attention_slab_, activations_.idle(DType::f32), *compute_);
}

/// Masters that are split are drawn into the activations' memory, and split from there.
void Rig::initialize_piece(const UnitState& state, const ShardPiece& piece, std::uint64_t seed) {
  const ParamSpec& spec = *piece.spec;
  const auto draw = [&](Tensor to, std::int64_t at) {
    ops_->initialize(to,
                     {seed, stable_hash(spec.name), static_cast<std::uint64_t>(piece.first + at), spec.init_scale,
                      spec.init_constant},
                     *compute_);
  };
  if (state.master) return draw(state.master.flat(piece.offset, piece.count), 0);
  constexpr std::int64_t kMost = std::int64_t{1} << 18;
  const Arena::Scope scratch(activations_);
  const Tensor drawn = activations_.take(DType::f32, {std::min(kMost, piece.count)});
  for (std::int64_t at = 0; at < piece.count; at += kMost) {
    const std::int64_t count = std::min(kMost, piece.count - at), to = piece.offset + at;
    draw(drawn.flat(0, count), at);
    ops_->split_master(drawn.flat(0, count), state.compute.flat(to, count), state.rest.flat(to, count), *compute_);
  }
}

void Rig::initialize(std::uint64_t seed) {
  for (int unit = 0; unit < model_.units(); ++unit)
    for (const ShardPiece& piece : model_.pieces(unit)) initialize_piece(model_.state(unit), piece, seed);
  model_.masters_changed();
}

}  // namespace sherd
