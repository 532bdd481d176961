// `sherd train`: config -> mesh -> plan -> model -> shard -> step -> checkpoint.
#include <filesystem>
#include <optional>

#include "commands.hpp"
#include "machine.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/config/echo.hpp"
#include "sherd/config/validate.hpp"
#include "sherd/data/tokenizer.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/plan/training_plan.hpp"
#include "sherd/train/trainer.hpp"

namespace sherd::app {
namespace {

namespace fs = std::filesystem;

void require_same_config(const TrainConfig& config, Exchange& host) {
  const std::vector<std::string> all = host.all_gather(to_json(config));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw usage_error("rank {} was started with other settings than rank 0: {}", rank,
                      differing_fields(all[0], all[rank]).front())
        .told_by(0);
  }
}

/// The tokenizer of the corpus: beside the model or beside the corpus; empty if neither has one. One beside the model
/// that did not make the corpus is an error.
fs::path find_tokenizer(const TrainConfig& config, const Corpus& corpus) {
  const fs::path with_model = fs::path(config.model) / "tokenizer.model";
  const fs::path with_corpus = fs::path(config.data).parent_path() / "tokenizer.model";
  if (fs::exists(with_model)) {
    corpus.require_tokenizer(Tokenizer(with_model).sha256(), with_model);
    return with_model;
  }
  if (fs::exists(with_corpus) && Tokenizer(with_corpus).sha256() == corpus.info().tokenizer_sha256) return with_corpus;
  return {};
}

/// config.json and tokenizer.model beside the checkpoints, so that `sherd generate` and `sherd export` need only
/// --output.
void describe_run(const TrainConfig& config, const ModelConfig& model, const Corpus& corpus) {
  fs::create_directories(config.output);
  write_text(fs::path(config.output) / "config.json",
             to_config_json(model, config.dtype == "bf16" ? "bfloat16" : "float32"));
  const fs::path from = find_tokenizer(config, corpus), to = fs::path(config.output) / "tokenizer.model";
  if (from.empty() || (fs::exists(to) && fs::equivalent(from, to))) return;
  write_text(to, read_text(from, 64 << 20));
}

void log_plan(const ModelConfig& model, const TrainingPlan& plan, const TrainConfig& config) {
  const auto gib = [](std::size_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  log::info("model: {} parameters, {} layers; {} with {} checkpointing, {} sequences of {} tokens a step",
            model.parameters(), model.layers, config.dtype, config.activation_checkpointing, config.total_batch_size,
            config.max_seq_length);
  log::info("plan per rank: {:.3f} GiB of states and buffers, {:.3f} GiB of activations; {:.1f} MB sent per step",
            gib(plan.persistent_bytes), gib(plan.activation_bytes),
            static_cast<double>(plan.shard.bytes_sent() + plan.replicate.bytes_sent() + plan.world.bytes_sent()) / 1e6);
  if (config.max_seq_length > model.max_position) {
    log::warn(
        "--max-seq-length {} is longer than the {} positions that the model was made for (max_position_embeddings)",
        config.max_seq_length, model.max_position);
  }
}

}  // namespace

int train(const TrainConfig& given, const MpiSession& mpi) {
  TrainConfig config = given;
  const std::unique_ptr<Exchange> host = mpi_exchange(mpi.world());
  together(*host, [&] { validate(config, mpi.size()); });
  require_same_config(config, *host);

  ModelConfig model;
  std::optional<Corpus> corpus;
  together(*host, [&] {
    model = load_model_config(config.model);
    corpus.emplace(config.data);
    corpus->require_vocab(model.vocab_size);
    if (host->rank() == 0) describe_run(config, model, *corpus);
  });

  const NodeMap nodes = NodeMap::discover(mpi);
  const MeshOptions mesh{config.sharding, config.shard_size, config.comm_timeout, config.output, config.device};
  const RigOptions options = rig_options(config);
  const TrainingPlan plan =
      plan_training(model, options, [&](Arena& persistent) { return Mesh::planned(nodes, mesh, persistent); });

  together(*host, [&] {
    require_memory(narrow<std::int64_t>(plan.persistent_bytes + plan.activation_bytes), nodes, mpi.rank(),
                   node_memory());
  });
  const int threads = threads_per_rank(config.threads, nodes, *host);
  std::unique_ptr<Device> device;
  together(*host, [&] {
    device = make_device(config.device, threads, nodes.place[static_cast<std::size_t>(mpi.rank())].local_rank);
  });
  const double gemm_rate = world_gemm_rate(options.shard.param_dtype, threads, *host);
  Rig rig(*device,
          {[&](Arena& persistent) { return Mesh::make(mpi, nodes, mesh, persistent); }, ops_maker(config.device)},
          model, options, device->arena("states and buffers", plan.persistent_bytes),
          device->arena("activations", plan.activation_bytes));
  log::info("{}", rig.mesh().describe(device->describe(), threads));
  log_plan(model, plan, config);

  const RunState state = restore(config, model, rig, *host);
  Trainer(config, model, *corpus, rig, *host, gemm_rate).run(state);
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
