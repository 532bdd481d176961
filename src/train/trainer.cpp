#include "sherd/train/trainer.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>

#include "sherd/base/log.hpp"
#include "sherd/data/order.hpp"
#include "sherd/train/step_profile.hpp"

namespace sherd {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// What the rank has resident at most; with a GPU, what it has taken of the device's memory.
double memory_gib(const TrainConfig& config, const Rig& rig) {
  if (config.device == "cuda")
    return static_cast<double>(rig.persistent().capacity() + rig.activations().capacity()) / (1 << 30);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);  // KiB on Linux
}

}  // namespace

Trainer::Trainer(const TrainConfig& config, const ModelConfig& model, const Corpus& corpus, Rig& rig, Exchange& host,
                 const StepNeeds& needs)
    : config_(config), model_(model), corpus_(corpus), rig_(rig), host_(host), needs_(needs) {
  const Packing packing = config.packing ? Packing::packed : Packing::padded;
  train_bins_ = make_bins(corpus, Split::train, config.max_seq_length, packing);
  eval_bins_ = make_bins(corpus, Split::eval, config.max_seq_length, packing);
  const std::int64_t per_epoch = BatchOrder(train_bins_.size(), config.total_batch_size, 0).steps_per_epoch();
  total_steps_ = total_steps(config, per_epoch);
  learning_rate_ = learning_rate(config, total_steps_);
  if (host.rank() == 0) metrics_.emplace(std::filesystem::path(config.output) / "metrics.jsonl");
  log::info("steps: {} of {} sequences per epoch, {} in all", per_epoch, config.total_batch_size, total_steps_);
}

LoaderOptions Trainer::loader_options(std::int64_t first_step) const {
  LoaderOptions o;
  o.seed = static_cast<std::uint64_t>(config_.seed);
  o.batch = config_.batch_size_per_device;
  o.rank = rig_.mesh().world->rank();
  o.world = rig_.mesh().world->size();
  o.accumulation = config_.gradient_accumulation_steps;
  o.first_step = first_step;
  return o;
}

bool Trainer::has_steps(const RunState& state) const {
  if (state.step < total_steps_) return true;
  log::info("nothing to do: the run has {} steps and the checkpoint is at step {}", total_steps_, state.step);
  return false;
}

/// Whether something needs the model as it is after `steps` steps, so that the next one must not have begun.
bool Trainer::pauses_after(std::int64_t steps, std::int64_t first) const {
  const auto due = [&](std::int64_t every) { return every > 0 && steps % every == 0; };
  return steps == total_steps_ || steps == second_or_last(first) || due(config_.eval_every) || due(config_.save_every);
}

void Trainer::run(RunState state, const std::function<void()>& after_second_step) {
  const std::int64_t first = state.step;
  Loader loader = Loader::training(corpus_, train_bins_, loader_options(first));
  StepProfile profile(config_, first, rig_, host_, needs_);
  TrainStep& step = rig_.step();
  std::int64_t saved_at = -1, enqueued = first;
  Clock::time_point begin = Clock::now();
  const auto enqueue = [&] {
    profile.begin(enqueued);
    step.enqueue(enqueued, loader.next_step(), learning_rate_.at(enqueued));
    profile.end();
    ++enqueued;
  };
  for (bool stopping = false, last = false; !last;) {
    if (step.under_way() == 0) {
      begin = Clock::now();
      enqueue();
    }
    while (step.runs_ahead() && !stopping && step.under_way() < TrainStep::kAhead && !pauses_after(enqueued, first))
      enqueue();
    const StepResult result = step.finish();
    data_wait_ = loader.seconds_waited();
    ++state.step;
    state.tokens_seen += config_.total_batch_size * config_.max_seq_length;
    const StepReport r = report(result, state, seconds_since(begin));
    begin = Clock::now();
    stopping = stopping || state.step == total_steps_ || out_of_time();
    last = stopping && step.under_way() == 0;
    if (last || state.step % config_.log_every == 0) log::info("{}", log_line(r));
    write(json_line(r));
    if (state.step == second_or_last(first) && after_second_step) {
      rig_.synchronize();
      after_second_step();
    }
    if (last || (config_.eval_every > 0 && state.step % config_.eval_every == 0)) evaluate(state);
    if (last || (config_.save_every > 0 && state.step % config_.save_every == 0)) {
      save(config_, state, rig_, host_);
      saved_at = state.step;
    }
  }
  profile.finish();
  log::info("done: {} of {} steps in {}; checkpoint of step {} in {}", state.step, total_steps_,
            clock_text(seconds_since(start_)), saved_at, config_.output);
}

StepReport Trainer::report(const StepResult& result, const RunState& state, double seconds) {
  StepReport r;
  r.step = state.step;
  r.total_steps = total_steps_;
  r.loss = result.loss;
  r.grad_norm = result.grad_norm;
  r.learning_rate = learning_rate_.at(state.step - 1);
  r.tokens = config_.total_batch_size * config_.max_seq_length;
  r.seconds = seconds;
  r.tokens_per_second = static_cast<double>(r.tokens) / seconds;
  const double rate_of_all = needs_.rates.flops * host_.size();
  r.mfu = model_.flops_per_token(config_.max_seq_length) * r.tokens_per_second / rate_of_all;
  r.speed_of_light = needs_.least_seconds() / seconds;
  r.memory_gib = memory_gib(config_, rig_);
  const Mesh& mesh = rig_.mesh();
  const Seen now{mesh.shard->traffic(), mesh.replicate->traffic(), mesh.world->traffic(),
                 rig_.compute().seconds_waited(), data_wait_};
  r.shard = now.shard - seen_.shard;
  r.replicate = now.replicate - seen_.replicate;
  r.world = now.world - seen_.world;
  r.comm_wait_seconds = now.comm_wait - seen_.comm_wait;
  r.data_wait_seconds = now.data_wait - seen_.data_wait;
  seen_ = now;
  smoothed_seconds_ = smoothed_seconds_ == 0 ? seconds : 0.9 * smoothed_seconds_ + 0.1 * seconds;
  r.seconds_left = smoothed_seconds_ * static_cast<double>(total_steps_ - state.step);
  if (config_.max_minutes > 0) {
    r.seconds_left = std::min(r.seconds_left, std::max(0.0, config_.max_minutes * 60 - seconds_since(start_)));
  }
  return r;
}

void Trainer::evaluate(const RunState& state) {
  if (eval_bins_.size() == 0 || config_.eval_batches == 0) return;
  Loader loader = Loader::evaluation(corpus_, eval_bins_, loader_options(0), config_.eval_batches);
  std::int64_t left = loader.steps() * config_.gradient_accumulation_steps;
  const double loss = rig_.step().evaluate([&] { return left-- > 0 ? &loader.next() : nullptr; });
  log::info("step {}/{}  held-out loss {:.4f}", state.step, total_steps_, loss);
  write(fmt::format("{{\"step\":{},\"eval_loss\":{:.7g}}}", state.step, loss));
  const Mesh& mesh = rig_.mesh();  // what evaluation sends and waits for is no step's
  seen_.shard = mesh.shard->traffic();
  seen_.replicate = mesh.replicate->traffic();
  seen_.world = mesh.world->traffic();
  seen_.comm_wait = rig_.compute().seconds_waited();
}

/// Rank 0's clock decides for all.
bool Trainer::out_of_time() const {
  if (config_.max_minutes <= 0) return false;
  if (host_.size() > 1) rig_.synchronize();  // the library is entered by one thread at a time
  const bool mine = seconds_since(start_) >= config_.max_minutes * 60;
  return host_.all_gather(mine ? "stop" : "go").front() == "stop";
}

void Trainer::write(const std::string& json) {
  if (metrics_) metrics_->write(json);
}

}  // namespace sherd
