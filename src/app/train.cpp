// `sherd train`: config -> mesh -> plan -> model -> shard -> step -> checkpoint.
#include "commands.hpp"
#include "fit.hpp"
#include "machine.hpp"
#include "precision.hpp"
#include "run_inputs.hpp"
#include "sherd/base/log.hpp"
#include "sherd/comm/nccl.hpp"
#include "sherd/config/fields.hpp"
#include "sherd/config/validate.hpp"
#include "sherd/ops/backend.hpp"
#include "sherd/train/algorithms.hpp"
#include "sherd/train/trainer.hpp"

namespace sherd::app {
namespace {

/// Between steps a rank may write a checkpoint for so many times --comm-timeout before the others give it up.
constexpr double kPatience = 6;

void log_plan(const ModelConfig& model, const TrainingPlan& plan, const TrainConfig& config) {
  const auto gib = [](std::size_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  log::info("model: {} parameters, {} layers; {} with {} checkpointing, {} sequences of {} tokens a step",
            model.parameters(), model.layers, config.dtype, config.activation_checkpointing, config.total_batch_size,
            config.max_seq_length);
  log::info("plan per rank: {:.3f} GiB of states and buffers, {:.3f} GiB of activations; {:.1f} MB sent per step",
            gib(plan.persistent_bytes), gib(plan.activation_bytes),
            static_cast<double>(plan.shard.bytes_sent() + plan.replicate.bytes_sent() + plan.world.bytes_sent()) / 1e6);
  for (const std::string& line : changed_from_preset(config)) {
    log::warn("--preset demo-compat is not the demo's arithmetic with other settings: {}", line);
  }
  if (config.max_seq_length > model.max_position) {
    log::warn(
        "--max-seq-length {} is longer than the {} positions that the model was made for (max_position_embeddings)",
        config.max_seq_length, model.max_position);
  }
}

void log_machine(const Machine& machine, const Mesh& mesh) {
  log::info("{}", mesh.describe(machine.device->describe(), machine.threads));
  if (machine.kind != "cuda" || mesh.world_size() == 1) return;
  if (mesh.staging) {
    log::info("collectives: MPI, through host memory, for {}",
              nccl_available() ? "NCCL joins no ranks that share a GPU" : "this build has no NCCL");
  } else {
    log::info("collectives: NCCL");
  }
}

/// What speed of light counts.
StepWork work_without_recomputation(const ModelConfig& model, RigOptions options, const NodeMap& nodes,
                                    const MeshOptions& mesh) {
  options.step.recompute = {Recompute::Mode::none, 1};
  return plan_training(model, options, [&](Arena& persistent) { return Mesh::planned(nodes, mesh, persistent); })
      .ops.work;
}

}  // namespace

int train(const TrainConfig& given, const MpiSession& mpi) {
  TrainConfig config = given;
  const std::unique_ptr<Exchange> host = mpi_exchange(mpi.world(), kPatience * given.comm_timeout);
  together(*host, [&] { validate(config, mpi.size()); });
  require_same_config(config, *host);
  const NodeMap nodes = NodeMap::discover(mpi);
  config.device = settle_device(config.device, nodes, *host);
  const Machine machine = open_machine(config, nodes, *host);
  together(*host, [&] { require_fp8(config, machine); });
  const RunInputs inputs = open_inputs(config, *host);
  const ModelConfig& model = inputs.model;
  const MeshOptions mesh = mesh_options(config, machine.shares);
  const RigOptions options = rig_options(config);
  const TrainingPlan plan =
      plan_training(model, options, [&](Arena& persistent) { return Mesh::planned(nodes, mesh, persistent); });
  together(*host, [&] { require_fit(plan, config, model, nodes, machine, mpi.rank()); });

  const StepNeeds needs{plan.ops.work, work_without_recomputation(model, options, nodes, mesh),
                        mean_rates(machine, options.shard.param_dtype, config.fp8, *host)};
  const auto make_mesh = [&](Arena& persistent) { return Mesh::make(mpi, nodes, mesh, persistent); };
  Rig rig(*machine.device, {make_mesh, backend_of(config.device).make_ops}, model, options,
          plan.allocate(*machine.device));
  log_machine(machine, rig.mesh());
  log_plan(model, plan, config);
  log_fp8(config, model, plan.ops);
  log::info("{}", needs_line(needs));

  RunState state = restore(config, model, inputs.corpus.info().tokenizer_sha256, rig, *host);
  together(*host, [&] {
    if (host->rank() == 0) describe_run(config, inputs);
  });
  Trainer trainer(config, model, inputs.corpus, rig, *host, needs);
  if (!trainer.has_steps(state)) return static_cast<int>(ExitCode::done);
  state.algorithms =
      settle_algorithms(rig, algorithm_needs(plan, options, trainer.most_documents()), state.algorithms, *host);
  trainer.run(state, [&] { together(*host, [&] { report_runtime(plan, machine, mpi.rank()); }); });
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
