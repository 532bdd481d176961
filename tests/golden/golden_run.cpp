#include "golden_run.hpp"

#include <algorithm>

namespace sherd::golden {
namespace {

constexpr std::size_t kArenaBytes = 32 << 20;  // the models have at most 50,000 parameters

}  // namespace

GoldenRun::GoldenRun(const std::filesystem::path& directory, DType dtype, StepOptions options)
    : config_(load_model_config(directory)),
      device_(test::make_test_device(1)),
      compute_(device_->stream("compute", StreamKind::compute)),
      comm_(device_->stream("comm", StreamKind::communication)),
      shard_(make_self_communicator("shard")),
      replicate_(make_self_communicator("replicate")),
      world_(make_self_communicator("world")),
      persistent_(device_->arena("persistent", kArenaBytes + test::test_backend().workspace_bytes)),
      activations_(device_->arena("activations", kArenaBytes)),
      ops_(test::test_backend().make_ops(persistent_.take(DType::f32, {test::test_backend().workspace_bytes / 4}))) {
  const ShardContext context{*device_, *ops_, *compute_, *comm_, *shard_, *replicate_};
  model_ =
      std::make_unique<ShardedModel>(context, llama_units(config_), ShardOptions{dtype, DType::f32, 1}, persistent_);
  load(directory / "model.safetensors");
  options.act = dtype;
  step_ = std::make_unique<TrainStep>(StepContext{*device_, *ops_, *compute_, *comm_, *world_, *model_}, config_,
                                      options, persistent_, activations_);
}

void GoldenRun::load(const std::filesystem::path& path) {
  const std::map<std::string, GoldenTensor> weights = load_tensors(path);
  std::size_t used = 0;
  for (int unit = 0; unit < model_->units(); ++unit) {
    for (const UnitLayout::Slot& slot : model_->layout(unit).slots) {
      const GoldenTensor& from = weights.at(slot.spec.name);
      SHERD_CHECK(from.shape == slot.spec.shape, "{} has another shape in {}", slot.spec.name, path.string());
      ops_->upload(std::as_bytes(std::span(from.values)),
                   model_->state(unit).master.flat(slot.first, slot.spec.numel()), *compute_);
      ++used;
    }
  }
  SHERD_CHECK(used == weights.size(), "{} of {} tensors of {} used", used, weights.size(), path.string());
  model_->masters_changed();
  compute_->synchronize();
}

DeviceBatch GoldenRun::upload(const HostBatch& batch) {
  const auto put = [&](const std::vector<std::int32_t>& from) {
    const Tensor to = activations_.take(DType::i32, {batch.batch, batch.length});  // (B, T)
    ops_->upload(std::as_bytes(std::span(from)), to, *compute_);
    return to;
  };
  return {put(batch.tokens), put(batch.targets), put(batch.doc_start)};
}

std::vector<float> GoldenRun::download(Tensor from) {
  std::vector<float> to(static_cast<std::size_t>(from.numel()));
  ops_->download(from, std::as_writable_bytes(std::span(to)), *compute_);
  compute_->synchronize();
  return to;
}

std::vector<float> GoldenRun::logits(const HostBatch& batch) {
  const Arena::Scope scope(activations_);
  const DeviceBatch device = upload(batch);
  const Tensor logits = activations_.take(DType::f32, {batch.batch * batch.length, config_.vocab_size});  // (N, V)
  step_->pass().logits(device, logits);
  return download(logits);
}

double GoldenRun::backward(const HostBatch& batch) {
  const Arena::Scope scope(activations_);
  const DeviceBatch device = upload(batch);
  const Tensor loss = activations_.take(DType::f32, {1}), divisor = activations_.take(DType::f32, {1});
  ops_->fill(loss, 0, *compute_);
  ops_->fill(divisor, static_cast<float>(batch.valid), *compute_);
  model_->begin_step(0, 1, {});
  model_->begin_micro_batch();
  step_->pass().train(device, loss, divisor);
  model_->finish_backward();
  return static_cast<double>(download(loss).front());
}

std::map<std::string, std::vector<float>> GoldenRun::gradients() {
  std::map<std::string, std::vector<float>> all;
  for (int unit = 0; unit < model_->units(); ++unit) {
    for (const UnitLayout::Slot& slot : model_->layout(unit).slots) {
      all[slot.spec.name] = download(model_->state(unit).grad.flat(slot.first, slot.spec.numel()));
    }
  }
  return all;
}

}  // namespace sherd::golden
