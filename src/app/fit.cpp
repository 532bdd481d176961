#include "fit.hpp"

#include <algorithm>
#include <array>

#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/ops/backend.hpp"

namespace sherd::app {
namespace {

constexpr int kMostTimesTheRanks = 64;

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

double mib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::int64_t planned_bytes(const TrainConfig& config, const ModelConfig& model, const NodeMap& nodes) {
  const MeshOptions mesh = mesh_options(config);
  const TrainingPlan plan = plan_training(model, rig_options(config),
                                          [&](Arena& persistent) { return Mesh::planned(nodes, mesh, persistent); });
  return narrow<std::int64_t>(plan.bytes());
}

struct Change {
  TrainConfig config;
  std::string flags;  // that make it of the run's own
};

/// Changes that leave the batch of a step as it is, each on top of those before it: first what costs neither time nor
/// digits, then time, then digits.
std::vector<Change> changes(Change c, bool alone) {
  std::vector<Change> all;
  const auto add = [&] { all.push_back(c); };
  if (c.config.prefetch > 1) {
    c.config.prefetch = 1;
    c.flags += " --prefetch 1";
    add();
  }
  if (rig_options(c.config).attention_slab_bytes != nullptr) {
    c.config.attention = "own";
    c.flags += " --attention own";
    add();
  }
  if (c.config.master_weights == "fp32" && c.config.dtype == "bf16") {
    c.config.master_weights = "split";
    c.flags += " --master-weights split";
    add();
  }
  const std::string flags = c.flags, kept = c.config.activation_checkpointing;
  constexpr std::array kLadder = {"none", "selective", "block"};
  const auto now = std::find(kLadder.begin(), kLadder.end(), kept);
  for (auto next = now == kLadder.end() ? now - 1 : now + 1; next < kLadder.end(); ++next) {  // every-K is before block
    c.config.activation_checkpointing = *next;
    c.flags = flags + " --activation-checkpointing " + *next;
    add();
  }
  const std::string before_batch = c.flags;
  for (std::int64_t& batch = c.config.batch_size_per_device; batch > 1 && !c.config.optimizer_in_backward;) {
    const std::int64_t smaller = batch % 2 == 0 ? batch / 2 : 1;
    c.config.gradient_accumulation_steps *= batch / smaller;
    batch = smaller;
    c.flags = fmt::format("{} --batch-size-per-device {} --gradient-accumulation-steps {}", before_batch, batch,
                          c.config.gradient_accumulation_steps);
    add();
  }
  if (c.config.sharding != "full") {
    c.flags += c.config.shard_size == 0 ? " --sharding full" : " --sharding full --shard-size 0";
    c.config.sharding = "full";
    c.config.shard_size = 0;
    add();
  }
  if (alone && c.config.gradients_dtype == "fp32" && c.config.dtype == "bf16" && !c.config.optimizer_in_backward) {
    c.config.gradients_dtype = "bf16";
    c.flags += " --gradients-dtype bf16";
    add();
  }
  const std::string before_moments = c.flags;
  for (const char* dtype : {"bf16", "8bit"}) {
    if (c.config.moments_dtype == dtype || c.config.moments_dtype == "8bit") continue;
    c.config.moments_dtype = dtype;
    c.flags = before_moments + " --moments-dtype " + dtype;
    add();
  }
  return all;
}

}  // namespace

MeshOptions mesh_options(const TrainConfig& config, const DeviceShares& shares) {
  return {config.sharding, config.shard_size, config.comm_timeout, config.output, config.device, !shares.shared()};
}

std::string nearest_fit(const TrainConfig& config, const ModelConfig& model, const NodeMap& nodes, std::int64_t bytes,
                        std::int64_t bytes_alone) {
  for (const Change& change : changes({config, ""}, nodes.ranks() == 1))
    if (planned_bytes(change.config, model, nodes) <= bytes) return change.flags.substr(1);
  if (bytes_alone > bytes && planned_bytes(config, model, nodes) <= bytes_alone) return "a GPU for each rank";
  Change last{config, ""};  // what several ranks can do: they keep gradients in fp32
  if (config.gradients_dtype == "bf16") {
    last.config.gradients_dtype = "fp32";
    last.flags = " --gradients-dtype fp32";
  }
  for (Change& change : changes(last, false)) last = std::move(change);
  for (int times = nodes.ranks() == 1 ? 2 : 1; times <= kMostTimesTheRanks; times *= 2) {
    const NodeMap more = NodeMap::even(nodes.ranks() * times, 1);  // sharded over all, wherever they are
    if (planned_bytes(last.config, model, more) > bytes_alone) continue;
    return fmt::format("{} ranks with such a GPU each{}{}", more.ranks(), last.flags.empty() ? "" : ", and",
                       last.flags);
  }
  return "";
}

void require_fit(const TrainingPlan& plan, const TrainConfig& config, const ModelConfig& model, const NodeMap& nodes,
                 const Machine& machine, int rank) {
  const auto need = narrow<std::int64_t>(plan.bytes());
  if (machine.kind != "cuda") return require_memory(need, nodes, rank, node_memory());
  const cuda::Memory& memory = machine.memory;
  const int users = machine.shares.users[static_cast<std::size_t>(rank)];
  const std::int64_t runtime = backend_of(machine.kind).runtime_bytes;
  const std::int64_t each = memory.free / users - runtime, alone = memory.free - runtime;
  if (need <= each) return;
  const std::string fits = nearest_fit(config, model, nodes, each, alone);
  throw does_not_fit(
      "{}, {}: {} needs {:.2f} GiB by the plan and {:.2f} GiB for CUDA's libraries, and {:.2f} of its {:.2f} GiB are "
      "free; {}",
      nodes.name_of(rank), machine.device->describe(),
      users == 1 ? "the rank" : fmt::format("each of the {} ranks that share it", users), gib(need), gib(runtime),
      gib(memory.free), gib(memory.total),
      fits.empty() ? "nothing that was tried fits: take a shorter --max-seq-length, a smaller model or larger GPUs"
                   : "what would fit: " + fits);
}

void report_runtime(const TrainingPlan& plan, const Machine& machine, int rank) {
  if (machine.kind != "cuda") return;
  const cuda::Memory& before = machine.memory;
  const int users = machine.shares.users[static_cast<std::size_t>(rank)];
  const std::int64_t taken = (before.free - cuda::memory_of(*machine.device).free) / users;
  const std::int64_t runtime = taken - narrow<std::int64_t>(plan.bytes());
  const std::int64_t allowance = backend_of(machine.kind).runtime_bytes;
  log::info(
      "GPU memory after two steps: {} bytes of arena per rank, and {:.1f} MiB beside it, of {:.0f} MiB allowed; "
      "before, contexts and other programs had {:.1f} MiB of the device",
      plan.bytes(), mib(std::max<std::int64_t>(0, runtime)), mib(allowance), mib(before.total - before.free));
  if (runtime > allowance) {
    log::warn(
        "CUDA's libraries, or other programs since the run began, took {:.1f} MiB per rank beside the arena, and the "
        "plan "
        "allows {:.0f}: a run that fits closely may end for want of memory",
        mib(runtime), mib(allowance));
  }
}

}  // namespace sherd::app
