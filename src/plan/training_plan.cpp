#include "sherd/plan/training_plan.hpp"

#include <utility>

#include "sherd/device/cpu/device.hpp"

namespace sherd {

RigMemory TrainingPlan::allocate(Device& device) const {
  auto [persistent, activations] =
      Arena::divide(device.arena("memory of the run", bytes()), "states and buffers", persistent_bytes, "activations");
  return {std::move(persistent), std::move(activations)};
}

TrainingPlan plan_training(const ModelConfig& config, const RigOptions& options,
                           const std::function<Mesh(Arena& persistent)>& mesh) {
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
