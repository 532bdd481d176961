#include "sherd/plan/training_plan.hpp"

#include <utility>

#include "sherd/device/cpu/device.hpp"

namespace sherd {

RigMemory TrainingPlan::allocate(Device& device) const {
  auto [persistent, activations] =
      Arena::divide(device.arena("memory of the run", bytes()), "states and buffers", persistent_bytes, "activations");
  return {std::move(persistent), std::move(activations)};
}

namespace {

using MakeMesh = std::function<Mesh(Arena& persistent)>;

/// Micro-batches that are run to be counted: those after the second are like the one before them, since each begins
/// with the units in their slots that its predecessor left.
constexpr std::int64_t kCounted = 3;

TrainingPlan plan_counted(const ModelConfig& config, const RigOptions& options, const MakeMesh& mesh) {
  cpu::Options nothing_runs;
  nothing_runs.plan_only = true;
  cpu::Device device(nothing_runs);
  TrainingPlan plan;
  Rig rig(device, {mesh, [&](Tensor) { return make_recording_ops(plan.ops); }}, config, options,
          {Arena::measure("persistent"), Arena::measure("activations")});

  HostBatch batch(options.step.batch, options.step.length);
  batch.valid = options.step.batch * options.step.length;
  const std::vector<HostBatch> batches(static_cast<std::size_t>(options.step.accumulation), batch);
  rig.initialize(0);
  const HostBatch* once = &batch;
  rig.step().evaluate([&] { return std::exchange(once, nullptr); });
  rig.step().run(0, batches, 0);  // the first step gathers more than those after it
  const Traffic shard = rig.mesh().shard->traffic(), replicate = rig.mesh().replicate->traffic(),
                world = rig.mesh().world->traffic();
  plan.ops = {};
  rig.step().run(1, batches, 0);
  plan.shard = rig.mesh().shard->traffic() - shard;
  plan.replicate = rig.mesh().replicate->traffic() - replicate;
  plan.world = rig.mesh().world->traffic() - world;
  plan.states = rig.model().state_bytes();
  plan.persistent_bytes = rig.persistent().high_water();
  plan.activation_bytes = rig.activations().high_water();
  return plan;
}

/// a, and `times` what it has more than b has.
template <class Number>
void extrapolate(Number& a, const Number& b, std::int64_t times) {
  a += (a - b) * static_cast<Number>(times);
}

void extrapolate(Traffic& a, const Traffic& b, std::int64_t times) {
  for (std::size_t i = 0; i < a.row.size(); ++i) {
    extrapolate(a.row[i].calls, b.row[i].calls, times);
    extrapolate(a.row[i].bytes_sent, b.row[i].bytes_sent, times);
  }
}

void extrapolate(PlannedOps& a, const PlannedOps& b, std::int64_t times) {
  extrapolate(a.product_flops, b.product_flops, times);
  extrapolate(a.f8_flops, b.f8_flops, times);
  extrapolate(a.attention_flops, b.attention_flops, times);
  extrapolate(a.calls, b.calls, times);
  for (auto& [op, work] : a.work) {
    const OpWork& before = b.work.at(op);
    extrapolate(work.calls, before.calls, times);
    extrapolate(work.flops, before.flops, times);
    extrapolate(work.bytes, before.bytes, times);
  }
}

}  // namespace

TrainingPlan plan_training(const ModelConfig& config, const RigOptions& options, const MakeMesh& mesh) {
  const std::int64_t more = options.step.accumulation - kCounted;
  if (more <= 0) return plan_counted(config, options, mesh);
  RigOptions counted = options;
  counted.step.accumulation = kCounted;
  TrainingPlan plan = plan_counted(config, counted, mesh);
  counted.step.accumulation = kCounted - 1;
  const TrainingPlan one_less = plan_counted(config, counted, mesh);
  extrapolate(plan.ops, one_less.ops, more);
  extrapolate(plan.shard, one_less.shard, more);
  extrapolate(plan.replicate, one_less.replicate, more);
  extrapolate(plan.world, one_less.world, more);
  return plan;
}

AlgorithmNeeds algorithm_needs(const TrainingPlan& plan, const RigOptions& options, std::int64_t documents) {
  AlgorithmNeeds needs{{plan.ops.products.begin(), plan.ops.products.end()}, {}};
  if (options.attention_slab_bytes == nullptr) return needs;
  for (AttentionKey key : plan.ops.attentions) {
    key.documents = documents == 1 ? 0 : key.batch * documents;
    needs.attentions.push_back(key);
  }
  return needs;
}

}  // namespace sherd
