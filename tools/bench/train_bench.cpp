// train_bench: steps of a Llama of a given shape on random tokens, timed. One JSON line: median tokens per second,
// share of the measured rate of products, and where the compute stream's time went.
//
//   --mode whole           the step
//   --mode compute         the same with communicators that send nothing
//   --mode communication   the same with ops that compute nothing
// so that exposed communication = (whole - compute) / communication. Starts alone or under mpirun.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>

#include "sherd/base/log.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/config/validate.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/plan/training_plan.hpp"

namespace sherd {
namespace {

struct Settings {
  TrainConfig train;
  int steps = 5, warmup = 2;
  std::string mode = "whole";
};

Settings parse(int argc, char** argv) {
  Settings s;
  TrainConfig& t = s.train;
  t.max_seq_length = 512;
  t.dtype = "fp32";
  t.activation_checkpointing = "none";
  t.batch_size_per_device = 4;
  t.gradient_accumulation_steps = 1;
  t.threads = 2;
  CLI::App app{"times steps of a Llama on random tokens"};
  app.add_option("--config", t.model, "config.json")->required();
  app.add_option("--batch", t.batch_size_per_device);
  app.add_option("--seq", t.max_seq_length);
  app.add_option("--accumulation", t.gradient_accumulation_steps);
  app.add_option("--threads", t.threads);
  app.add_option("--dtype", t.dtype);
  app.add_option("--checkpointing", t.activation_checkpointing);
  app.add_option("--sharding", t.sharding);
  app.add_option("--steps", s.steps);
  app.add_option("--warmup", s.warmup);
  app.add_option("--mode", s.mode)->check(CLI::IsMember({"whole", "compute", "communication"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e));
  }
  return s;
}

std::vector<HostBatch> random_batches(const TrainConfig& t, std::int64_t vocab, int rank) {
  std::vector<HostBatch> batches;
  const Random random(1, Purpose::test, static_cast<std::uint64_t>(rank));
  for (std::int64_t i = 0; i < t.gradient_accumulation_steps; ++i) {
    HostBatch& b = batches.emplace_back(t.batch_size_per_device, t.max_seq_length);
    for (std::size_t k = 0; k < b.tokens.size(); ++k) {
      b.tokens[k] = static_cast<std::int32_t>(random.bits(k) % static_cast<std::uint64_t>(vocab));
    }
    for (std::size_t k = 0; k + 1 < b.tokens.size(); ++k) {
      if ((k + 1) % static_cast<std::size_t>(b.length) != 0) b.targets[k] = b.tokens[k + 1];
    }
    b.valid = b.batch * (b.length - 1);
  }
  return batches;
}

/// Share of the profiled time in products, attention, and all else.
std::string shares(const std::map<std::string, double>& profile) {
  double products = 0, attention = 0, all = 0;
  for (const auto& [label, seconds] : profile) {
    all += seconds;
    if (label.starts_with("linear")) products += seconds;  // with the cross entropy's
    if (label.starts_with("attention")) attention += seconds;
  }
  return fmt::format("\"product_share\":{:.4f},\"attention_share\":{:.4f},\"other_share\":{:.4f}", products / all,
                     attention / all, 1 - (products + attention) / all);
}

void run(Settings s) {
  MpiSession mpi;
  log::init(mpi.rank(), mpi.size());
  s.train.total_batch_size = 0;
  validate(s.train, mpi.size());
  const ModelConfig model = load_model_config(s.train.model);
  const RigOptions options = rig_options(s.train);
  const NodeMap nodes = NodeMap::discover(mpi);
  const MeshOptions mesh{s.train.sharding, 0, 120, ""};
  const auto planned = [&](Arena& a) { return Mesh::planned(nodes, mesh, a); };
  const TrainingPlan plan = plan_training(model, options, planned);

  cpu::Options device_options;
  device_options.threads = static_cast<int>(s.train.threads);
  device_options.profile = true;
  cpu::Device device(device_options);
  cpu::set_threads(device_options.threads);
  const double gemm_rate = cpu::measure_gemm_rate(options.shard.param_dtype);
  PlannedOps ignored;
  const auto real_mesh = [&](Arena& a) { return Mesh::make(mpi, nodes, mesh, a); };
  const auto no_ops = [&](Tensor) { return make_recording_ops(ignored); };
  Rig rig(device,
          {s.mode == "compute" ? std::function<Mesh(Arena&)>(planned) : real_mesh,
           s.mode == "communication" ? std::function<std::unique_ptr<Ops>(Tensor)>(no_ops) : cpu::make_ops},
          model, options, device.arena("persistent", plan.persistent_bytes),
          device.arena("activations", plan.activation_bytes));
  rig.initialize(1);

  const std::vector<HostBatch> batches = random_batches(s.train, model.vocab_size, mpi.rank());
  std::vector<double> seconds;
  std::map<std::string, double> before;
  for (int step = 0; step < s.warmup + s.steps; ++step) {
    if (step == s.warmup) before = device.profile();
    const auto begin = std::chrono::steady_clock::now();
    rig.step().run(step, batches, 1e-4);
    rig.comm().synchronize();
    if (step >= s.warmup) {
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
  }
  std::map<std::string, double> profile = device.profile();
  for (auto& [label, value] : profile) value -= before[label];
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const double tokens = static_cast<double>(s.train.total_batch_size * s.train.max_seq_length);
  const double flops = (plan.ops.product_flops + plan.ops.attention_flops) / median;  // per rank
  log::info(
      "{{\"mode\":\"{}\",\"ranks\":{},\"threads\":{},\"dtype\":\"{}\",\"parameters\":{},\"tokens_per_second\":{:.1f},"
      "\"seconds_per_step\":{:.4f},\"fastest\":{:.4f},\"gemm_gflops\":{:.1f},\"share_of_gemm_rate\":{:.3f},{}}}",
      s.mode, mpi.size(), s.train.threads, s.train.dtype, model.parameters(), tokens / median, median, seconds.front(),
      gemm_rate / 1e9, flops / gemm_rate, shares(profile));
}

}  // namespace
}  // namespace sherd

int main(int argc, char** argv) {
  try {
    sherd::run(sherd::parse(argc, argv));
  } catch (const std::exception& e) {
    sherd::log::error("{}", e.what());
    return 1;
  }
}
