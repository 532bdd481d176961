#include "sherd/train/step.hpp"

#include <algorithm>
#include <cmath>

#include "sherd/base/narrow.hpp"
#include "sherd/ops/rounding.hpp"

namespace sherd {
namespace {

/// The device scalars of a step.
enum Scalar : std::int64_t { kLearningRate, kCorrection1, kCorrection2, kClip, kLoss, kSquares, kNorm, kScalars };

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& v) {
  return std::as_bytes(std::span(v));
}

}  // namespace

TrainStep::TrainStep(StepContext context, const ModelConfig& config, StepOptions options, Arena& persistent,
                     Arena& activations)
    : context_(context),
      options_(options),
      rope_table_(make_rope_table(context.ops, context.compute, persistent, config, options.length)),
      batches_(persistent.take(DType::i32, {options.accumulation, 3, options.batch, options.length})),
      scalars_(persistent.take(DType::f32, {kScalars})),
      divisors_(persistent.take(DType::f32, {options.accumulation})),
      rounding_key_(persistent.take(DType::i32, {2})),
      pass_(context.model, context.ops, context.compute, activations, config, rope_table_, options.act,
            options.recompute, options.loss_chunk),
      host_scalars_(3),
      host_divisors_(static_cast<std::size_t>(options.accumulation)),
      divisor_ready_(context.device.event("divisor ready")),
      divisor_done_(context.device.event("divisor done")),
      loss_ready_(context.device.event("loss ready")),
      loss_done_(context.device.event("loss done")) {}

DeviceBatch TrainStep::device_batch(std::size_t i) const {
  const std::int64_t n = options_.batch * options_.length, at = narrow<std::int64_t>(i) * 3 * n;
  const auto part = [&](std::int64_t k) {
    return batches_.flat(at + k * n, n).view({options_.batch, options_.length});
  };
  return {part(0), part(1), part(2)};
}

void TrainStep::upload_batches(std::span<const HostBatch> batches) {
  SHERD_CHECK(std::ssize(batches) <= options_.accumulation, "{} micro-batches, {} expected", batches.size(),
              options_.accumulation);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const HostBatch& host = batches[i];
    SHERD_CHECK(host.batch == options_.batch && host.length == options_.length, "a batch of {} x {}, {} x {} expected",
                host.batch, host.length, options_.batch, options_.length);
    const DeviceBatch to = device_batch(i);
    context_.ops.upload(bytes_of(host.tokens), to.tokens, context_.compute);
    context_.ops.upload(bytes_of(host.targets), to.targets, context_.compute);
    context_.ops.upload(bytes_of(host.doc_start), to.doc_start, context_.compute);
  }
}

void TrainStep::upload_scalars(std::int64_t number, std::span<const HostBatch> batches, double learning_rate) {
  const double t = static_cast<double>(number) + 1;
  host_scalars_ = {static_cast<float>(learning_rate),
                   static_cast<float>(1 - std::pow(static_cast<double>(options_.adamw.beta1), t)),
                   static_cast<float>(1 - std::pow(static_cast<double>(options_.adamw.beta2), t))};
  context_.ops.upload(bytes_of(host_scalars_), scalars_.flat(kLearningRate, 3), context_.compute);
  host_rounding_key_ = rounding_key(options_.seed, static_cast<std::uint64_t>(number));
  context_.ops.upload(std::as_bytes(std::span(host_rounding_key_)), rounding_key_, context_.compute);
  context_.ops.fill(scalars_.flat(kLoss, 1), 0, context_.compute);
  std::int64_t valid = 0;
  for (const HostBatch& b : batches) valid += b.valid;
  for (std::size_t i = 0; i < host_divisors_.size(); ++i) {
    const double mean_of_means = static_cast<double>(std::max<std::int64_t>(batches[i].valid, 1)) *
                                 static_cast<double>(options_.accumulation) * context_.world.size();
    host_divisors_[i] = static_cast<float>(options_.mean_per_micro_batch ? mean_of_means : static_cast<double>(valid));
  }
  context_.ops.upload(bytes_of(host_divisors_), divisors_, context_.compute);
  if (!options_.mean_per_micro_batch)
    sum_over_world(divisor(0), "loss divisor", number, *divisor_ready_, *divisor_done_);
}

/// Of micro-batch i; all have the same one unless each has its own mean.
Tensor TrainStep::divisor(std::size_t i) const {
  return divisors_.flat(options_.mean_per_micro_batch ? narrow<std::int64_t>(i) : 0, 1);
}

void TrainStep::sum_over_world(Tensor scalars, const char* what, std::int64_t step, Event& ready, Event& done) {
  if (context_.world.size() == 1) return;
  context_.compute.record(ready);
  context_.comm.wait(ready);  // this rank's scalars
  {
    const StreamRange range(context_.comm, what, narrow<std::int64_t>(scalars.bytes()));
    context_.world.all_reduce(scalars, {what, step}, context_.comm);
  }
  context_.comm.record(done);
  context_.compute.wait(done);  // the sum over ranks
}

StepResult TrainStep::run(std::int64_t number, std::span<const HostBatch> batches, double learning_rate) {
  SHERD_CHECK(std::ssize(batches) == options_.accumulation, "{} micro-batches of {}", batches.size(),
              options_.accumulation);
  const auto scalar = [&](Scalar s) { return scalars_.flat(s, 1); };
  Ops& ops = context_.ops;
  Stream& compute = context_.compute;
  ShardedModel& model = context_.model;

  upload_batches(batches);
  upload_scalars(number, batches, learning_rate);
  model.begin_step(number, options_.accumulation);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    pass_.train(device_batch(i), scalar(kLoss), divisor(i));
  }
  model.finish_backward();
  model.gradient_squares(scalar(kSquares));
  ops.clip_factor(scalar(kSquares), options_.max_grad_norm, scalar(kNorm), scalar(kClip), compute);
  model.adamw(options_.adamw,
              {scalar(kLearningRate), scalar(kCorrection1), scalar(kCorrection2), scalar(kClip), rounding_key_},
              options_.weight_decay, options_.decay_all);
  sum_over_world(scalar(kLoss), "loss", number, *loss_ready_, *loss_done_);
  ops.download(scalars_.flat(kLoss, 3), std::as_writable_bytes(std::span(report_)), compute);
  compute.synchronize();

  const StepResult result{report_[0], report_[2]};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    throw numerical_error(
        "step {}: loss {} and gradient norm {}; both must be finite. Resume from the last checkpoint with "
        "a lower --learning-rate, a longer --warmup-ratio, or --dtype fp32",
        number, result.loss, result.grad_norm)
        .told_by(0);  // all ranks have the same numbers
  }
  return result;
}

double TrainStep::evaluate(const std::function<const HostBatch*()>& next) {
  Stream& compute = context_.compute;
  host_divisors_[0] = 1.0f;
  context_.ops.upload(bytes_of(host_divisors_).first(sizeof(float)), divisors_.flat(0, 1), compute);
  const Tensor loss = scalars_.flat(kLoss, 1), tokens = scalars_.flat(kLoss + 1, 1);
  context_.ops.fill(loss, 0, compute);
  std::int64_t valid = 0;
  while (const HostBatch* batch = next()) {
    valid += batch->valid;
    upload_batches({batch, 1});
    pass_.evaluate(device_batch(0), loss, divisors_.flat(0, 1));
    compute.synchronize();  // the next batch may lie where this one did
  }
  host_scalars_[0] = static_cast<float>(valid);
  context_.ops.upload(bytes_of(host_scalars_).first(sizeof(float)), tokens, compute);
  const Tensor sums = scalars_.flat(kLoss, 2);
  sum_over_world(sums, "evaluation loss", 0, *loss_ready_, *loss_done_);
  context_.ops.download(sums, std::as_writable_bytes(std::span(report_)).first(2 * sizeof(float)), compute);
  compute.synchronize();
  return static_cast<double>(report_[0]) / std::max(1.0, static_cast<double>(report_[1]));
}

}  // namespace sherd
