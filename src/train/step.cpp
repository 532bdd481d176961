#include "sherd/train/step.hpp"

#include <algorithm>
#include <cmath>

#include "sherd/base/narrow.hpp"
#include "sherd/ops/rounding.hpp"

namespace sherd {
namespace {

/// The device scalars of a step.
enum Scalar : std::int64_t {
  kLearningRate,
  kCorrection1,
  kCorrection2,
  kClip,
  kLoss,
  kSquares,
  kNorm,
  kDivisor,
  kScalars
};

/// What is staged for a step, in 32-bit words after its batches: uploaded, and the result, downloaded.
enum StagedWord : std::int64_t {
  kStagedScalars = 0,  // learning rate, corrections
  kStagedKey = 3,      // rounding key
  kStagedResult = 5,   // loss, squares, norm
  kStagedDivisors = 8  // of each micro-batch
};

template <class T>
std::span<const std::byte> bytes_of(std::span<T> v) {
  return std::as_bytes(v);
}

}  // namespace

TrainStep::TrainStep(StepContext context, const ModelConfig& config, StepOptions options, Arena& persistent,
                     Arena& activations)
    : context_(context),
      options_(options),
      rope_table_(make_rope_table(context.ops, context.compute, persistent, config, options.length)),
      batch_(persistent.take(DType::i32, {3, options.batch, options.length})),
      scalars_(persistent.take(DType::f32, {kScalars})),
      rounding_key_(persistent.take(DType::i32, {2})),
      pass_(context.model, context.ops, context.compute, activations, config, rope_table_, options.act,
            options.recompute, options.loss_chunk, options.fp8),
      uses_recordings_(options.record && context.world.size() == 1),
      divisor_ready_(context.device.event("divisor ready")),
      divisor_done_(context.device.event("divisor done")),
      loss_ready_(context.device.event("loss ready")),
      loss_done_(context.device.event("loss done")) {
  const std::int64_t words = options.accumulation * (batch_.numel() + 1) + kStagedDivisors;
  for (Staging& s : staging_)
    s = {context.device.host_memory(narrow<std::size_t>(words) * 4), context.device.event("step done")};
}

/// With peers the streams end by themselves: they may wait for some who do not come.
TrainStep::~TrainStep() {
  if (under_way_.empty() || !runs_ahead()) return;
  try {
    context_.compute.synchronize();
  } catch (...) {  // it is told by the exception on whose way this is, or does not matter any more
  }
}

/// Words `first` to first + count - 1 after the batches.
template <class T>
std::span<T> TrainStep::staged(const Staging& s, std::int64_t first, std::int64_t count) const {
  auto* const words = reinterpret_cast<T*>(s.memory.data.get());
  return {words + options_.accumulation * batch_.numel() + first, narrow<std::size_t>(count)};
}

/// Part 0, 1 or 2: tokens, targets, doc_start.
std::span<std::int32_t> TrainStep::staged_batch(const Staging& s, std::int64_t micro_batch, std::int64_t part) const {
  const std::int64_t n = options_.batch * options_.length;
  return {reinterpret_cast<std::int32_t*>(s.memory.data.get()) + (micro_batch * 3 + part) * n, narrow<std::size_t>(n)};
}

void TrainStep::stage_batch(const Staging& s, std::int64_t micro_batch, const HostBatch& host) {
  SHERD_CHECK(host.batch == options_.batch && host.length == options_.length, "a batch of {} x {}, {} x {} expected",
              host.batch, host.length, options_.batch, options_.length);
  std::ranges::copy(host.tokens, staged_batch(s, micro_batch, 0).begin());
  std::ranges::copy(host.targets, staged_batch(s, micro_batch, 1).begin());
  std::ranges::copy(host.doc_start, staged_batch(s, micro_batch, 2).begin());
}

DeviceBatch TrainStep::device_batch() const {
  const std::int64_t n = options_.batch * options_.length;
  const auto part = [&](std::int64_t k) { return batch_.flat(k * n, n).view({options_.batch, options_.length}); };
  return {part(0), part(1), part(2)};
}

void TrainStep::stage(const Staging& s, std::int64_t number, std::span<const HostBatch> batches, double learning_rate) {
  const double t = static_cast<double>(number) + 1;
  const auto correction = [t](float beta) { return static_cast<float>(1 - std::pow(static_cast<double>(beta), t)); };
  std::ranges::copy(
      std::array{static_cast<float>(learning_rate), correction(options_.adamw.beta1), correction(options_.adamw.beta2)},
      staged<float>(s, kStagedScalars, 3).begin());
  std::ranges::copy(rounding_key(options_.seed, static_cast<std::uint64_t>(number)),
                    staged<std::uint32_t>(s, kStagedKey, 2).begin());
  std::int64_t valid = 0;
  for (const HostBatch& b : batches) valid += b.valid;
  const std::span<float> divisors = staged<float>(s, kStagedDivisors, options_.accumulation);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const HostBatch& host = batches[i];
    stage_batch(s, narrow<std::int64_t>(i), host);
    const double mean_of_means = static_cast<double>(std::max<std::int64_t>(host.valid, 1)) *
                                 static_cast<double>(options_.accumulation) * context_.world.size();
    divisors[i] = static_cast<float>(options_.mean_per_micro_batch ? mean_of_means : static_cast<double>(valid));
  }
}

void TrainStep::upload_scalars(const Staging& s, std::int64_t number) {
  Ops& ops = context_.ops;
  Stream& on = context_.compute;
  ops.upload(bytes_of(staged<float>(s, kStagedScalars, 3)), scalars_.flat(kLearningRate, 3), on);
  ops.upload(bytes_of(staged<std::uint32_t>(s, kStagedKey, 2)), rounding_key_, on);
  ops.fill(scalar(kClip), 1, on);  // for an optimizer that runs before the norm is known
  ops.fill(scalar(kLoss), 0, on);
  if (options_.mean_per_micro_batch) return;
  ops.upload(bytes_of(staged<float>(s, kStagedDivisors, 1)), scalar(kDivisor), on);
  sum_over_world(scalar(kDivisor), "loss divisor", number, *divisor_ready_, *divisor_done_);
}

/// All micro-batches go to one place: recorded work has one address.
void TrainStep::upload_tokens(const Staging& s, std::int64_t micro_batch) {
  const std::span<std::int32_t> all(staged_batch(s, micro_batch, 0).data(), narrow<std::size_t>(batch_.numel()));
  context_.ops.upload(bytes_of(all), batch_, context_.compute);
}

void TrainStep::upload_batch(const Staging& s, std::int64_t micro_batch) {
  upload_tokens(s, micro_batch);
  if (!options_.mean_per_micro_batch) return;
  context_.ops.upload(bytes_of(staged<float>(s, kStagedDivisors + micro_batch, 1)), scalar(kDivisor), context_.compute);
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

void TrainStep::micro_batch(std::int64_t i) {
  const auto work = [&] { pass_.train(device_batch(), scalar(kLoss), scalar(kDivisor)); };
  context_.model.begin_micro_batch();
  if (!uses_recordings_) return work();
  (i == 0 ? first_micro_batch_ : next_micro_batch_).run(context_.compute, work);  // the first overwrites gradients
}

void TrainStep::optimize() {
  const auto work = [&] {
    context_.model.gradient_squares();
    context_.ops.clip_factor(scalar(kSquares), options_.max_grad_norm, scalar(kNorm), scalar(kClip), context_.compute);
    context_.model.update();
  };
  context_.model.finish_backward();
  if (!uses_recordings_) return work();
  optimizer_.run(context_.compute, work);
}

void TrainStep::enqueue(std::int64_t number, std::span<const HostBatch> batches, double learning_rate) {
  SHERD_CHECK(std::ssize(batches) == options_.accumulation, "{} micro-batches of {}", batches.size(),
              options_.accumulation);
  SHERD_CHECK(under_way_.size() < (runs_ahead() ? kAhead : 1), "step {} while {} steps are under way", number,
              under_way_.size());
  const Staging& s = staging_[narrow<std::size_t>(number) % kAhead];
  stage(s, number, batches, learning_rate);
  upload_scalars(s, number);
  context_.model.begin_step(
      number, options_.accumulation,
      {options_.adamw,
       {scalar(kLearningRate), scalar(kCorrection1), scalar(kCorrection2), scalar(kClip), rounding_key_},
       options_.weight_decay,
       options_.decay_all,
       scalar(kSquares)});
  for (std::int64_t i = 0; i < options_.accumulation; ++i) {
    upload_batch(s, i);
    micro_batch(i);
  }
  optimize();
  sum_over_world(scalar(kLoss), "loss", number, *loss_ready_, *loss_done_);
  context_.ops.download(scalars_.flat(kLoss, 3), std::as_writable_bytes(staged<float>(s, kStagedResult, 3)),
                        context_.compute);
  context_.compute.record(*s.done);
  under_way_.push_back(number);
}

StepResult TrainStep::finish() {
  SHERD_CHECK(!under_way_.empty(), "no step is under way");
  const std::int64_t number = under_way_.front();
  const Staging& s = staging_[narrow<std::size_t>(number) % kAhead];
  // All of the stream where nothing else is in it: that tells what it waited for, too.
  under_way_.size() > 1 ? context_.compute.synchronize(*s.done) : context_.compute.synchronize();
  under_way_.pop_front();
  const std::span<const float> found = staged<float>(s, kStagedResult, 3);
  const StepResult result{found[0], found[2]};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    throw numerical_error(
        "step {}: loss {} and gradient norm {}; both must be finite. Resume from the last checkpoint with "
        "a lower --learning-rate, a longer --warmup-ratio, or --dtype fp32",
        number, result.loss, result.grad_norm)
        .told_by(0);  // all ranks have the same numbers
  }
  return result;
}

StepResult TrainStep::run(std::int64_t number, std::span<const HostBatch> batches, double learning_rate) {
  enqueue(number, batches, learning_rate);
  return finish();
}

double TrainStep::evaluate(const std::function<const HostBatch*()>& next) {
  SHERD_CHECK(under_way_.empty(), "evaluation while {} steps are under way", under_way_.size());
  Stream& compute = context_.compute;
  Ops& ops = context_.ops;
  const Staging& s = staging_.front();
  const Tensor loss = scalar(kLoss), tokens = scalar(kLoss + 1);
  ops.fill(scalar(kDivisor), 1, compute);
  ops.fill(loss, 0, compute);
  std::int64_t valid = 0;
  while (const HostBatch* batch = next()) {
    valid += batch->valid;
    stage_batch(s, 0, *batch);
    upload_tokens(s, 0);
    pass_.evaluate(device_batch(), loss, scalar(kDivisor));
    compute.synchronize();  // the next batch goes where this one is
  }
  const std::span<float> host = staged<float>(s, kStagedResult, 2);
  host[0] = static_cast<float>(valid);
  ops.upload(bytes_of(host.first(1)), tokens, compute);
  compute.synchronize();
  const Tensor sums = scalars_.flat(kLoss, 2);
  sum_over_world(sums, "evaluation loss", 0, *loss_ready_, *loss_done_);
  ops.download(sums, std::as_writable_bytes(host), compute);
  compute.synchronize();
  return static_cast<double>(host[0]) / std::max(1.0, static_cast<double>(host[1]));
}

}  // namespace sherd
