// `sherd plan`: what a run will take, on a node without GPU, weights or peers.
#include "commands.hpp"
#include "fit.hpp"
#include "precision.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/config/validate.hpp"
#include "sherd/ops/backend.hpp"

namespace sherd::app {
namespace {

void print_traffic(const char* axis, const Traffic& traffic) {
  for (int c = 0; c < kCollectives; ++c) {
    const Traffic::Row& row = traffic.row[static_cast<std::size_t>(c)];
    if (row.calls == 0) continue;
    log::info("  {:<10} {:<15} {:>6} calls {:>12.3f} MB", axis, name_of(static_cast<Collective>(c)), row.calls,
              static_cast<double>(row.bytes_sent) / 1e6);
  }
}

/// What the states and buffers are, as far as they are anything.
void print_states(const TrainingPlan& plan) {
  const auto print = [](const char* what, std::int64_t bytes) {
    if (bytes > 0) log::info("    {:<19}{:>10.3f} GiB", what, static_cast<double>(bytes) / (1 << 30));
  };
  const StateBytes& s = plan.states;
  print("weights", s.weights);
  print("master weights", s.masters);
  print("moments", s.moments);
  print("gradients", s.gradients);
  print("units travelling", s.slots);
  print("workspaces, tables",
        narrow<std::int64_t>(plan.persistent_bytes) - s.weights - s.masters - s.moments - s.gradients - s.slots);
}

}  // namespace

int plan(const PlanConfig& given) {
  PlanConfig config = given;
  validate(config);
  const ModelConfig model = load_model_config(config.train.model);
  const NodeMap nodes = NodeMap::even(narrow<int>(config.ranks), narrow<int>(config.nodes));
  config.train.device = settle_device(config.train.device, NodeMap::even(1, 1), *self_exchange());
  const MeshOptions mesh = mesh_options(config.train);
  const TrainingPlan plan = plan_training(model, rig_options(config.train),
                                          [&](Arena& persistent) { return Mesh::planned(nodes, mesh, persistent); });
  const auto gib = [](std::size_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  log::info("{} parameters on {} ranks of {} nodes, {}, sharding {}, {}, {} checkpointing", model.parameters(),
            config.ranks, config.nodes, config.train.device, config.train.sharding, config.train.dtype,
            config.train.activation_checkpointing);
  log::info("memory per rank");
  log::info("  states and buffers {:>10.3f} GiB  {} bytes", gib(plan.persistent_bytes), plan.persistent_bytes);
  print_states(plan);
  log::info("  activations        {:>10.3f} GiB  {} bytes", gib(plan.activation_bytes), plan.activation_bytes);
  const auto runtime = narrow<std::size_t>(backend_of(config.train.device).runtime_bytes);
  if (runtime > 0) {
    log::info("  runtime            {:>10.3f} GiB  of CUDA's libraries: an allowance; a run tells what it took",
              gib(runtime));
  }
  log::info("  sum                {:>10.3f} GiB  without {}", gib(plan.bytes() + runtime),
            runtime > 0 ? "the CUDA context" : "the program itself, MPI and its buffers");
  log::info("sent per rank and step");
  print_traffic("shard", plan.shard);
  print_traffic("replicate", plan.replicate);
  print_traffic("world", plan.world);
  log::info("computed per rank and step: {:.3f} TFLOP in products, {:.3f} TFLOP in attention",
            plan.ops.product_flops / 1e12, plan.ops.attention_flops / 1e12);
  log::info("moved per rank and step by all other operations: {:.3f} GB of memory", total(plan.ops.work).bytes / 1e9);
  log_fp8(config.train, model, plan.ops);
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
