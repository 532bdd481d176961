// train_bench: steps of a Llama of a given shape on random tokens, timed. One JSON line: median tokens per second,
// share of the measured rate of products, and where the compute stream's time went.
//
//   --mode whole           the step
//   --mode compute         the same with communicators that send nothing
//   --mode communication   the same with ops that compute nothing
//   --mode overlap         all three in turn: exposed communication = (whole - compute) / communication, round by round
// Starts alone or under mpirun.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
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
  app.add_option("--prefetch", t.prefetch);
  app.add_option("--steps", s.steps);
  app.add_option("--warmup", s.warmup);
  app.add_option("--mode", s.mode)->check(CLI::IsMember({"whole", "compute", "communication", "overlap"}));
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

/// Of this process, in user mode and in the kernel.
double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// One process of the benchmark: what the modes share.
class Bench {
 public:
  explicit Bench(Settings settings)
      : s_(checked(std::move(settings), mpi_.size())),
        model_(load_model_config(s_.train.model)),
        options_(rig_options(s_.train)),
        nodes_(NodeMap::discover(mpi_)),
        plan_(plan_training(model_, options_, planned())),
        device_(device_options(s_)),
        batches_(random_batches(s_.train, model_.vocab_size, mpi_.rank())) {
    log::init(mpi_.rank(), mpi_.size());
  }

  void run() { s_.mode == "overlap" ? run_overlap() : run_mode(); }

 private:
  static Settings checked(Settings s, int ranks) {
    s.train.total_batch_size = 0;
    validate(s.train, ranks);
    return s;
  }
  static cpu::Options device_options(const Settings& s) {
    cpu::Options options;
    options.threads = static_cast<int>(s.train.threads);
    options.profile = true;
    return options;
  }
  std::function<Mesh(Arena&)> planned() const {
    return [this](Arena& a) { return Mesh::planned(nodes_, mesh_, a); };
  }

  std::unique_ptr<Rig> rig(const std::string& mode) {
    const auto real_mesh = [this](Arena& a) { return Mesh::make(mpi_, nodes_, mesh_, a); };
    const auto no_ops = [this](Tensor) { return make_recording_ops(ignored_); };
    auto made = std::make_unique<Rig>(
        device_,
        Rig::Makers{mode == "compute" ? planned() : real_mesh,
                    mode == "communication" ? std::function<std::unique_ptr<Ops>(Tensor)>(no_ops) : cpu::make_ops},
        model_, options_, plan_.allocate(device_));
    made->initialize(1);
    return made;
  }

  /// Seconds of one step, on the slowest rank; all ranks begin together.
  double time_step(Rig& rig, int step) {
    rig.synchronize();
    MPI_Barrier(mpi_.world());
    const auto begin = std::chrono::steady_clock::now();
    rig.step().run(step, batches_, 1e-4);
    rig.synchronize();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.world());
    return seconds;
  }

  void run_mode() {
    cpu::set_threads(static_cast<int>(s_.train.threads));
    const double gemm_rate = cpu::measure_gemm_rate(options_.shard.param_dtype);
    const std::unique_ptr<Rig> rig = this->rig(s_.mode);
    std::vector<double> seconds;
    std::map<std::string, double> before;
    for (int step = 0; step < s_.warmup + s_.steps; ++step) {
      if (step == s_.warmup) before = device_.profile();
      const double took = time_step(*rig, step);
      if (step >= s_.warmup) seconds.push_back(took);
    }
    std::map<std::string, double> profile = device_.profile();
    for (auto& [label, value] : profile) value -= before[label];
    const double took = median(seconds);
    const double tokens = static_cast<double>(s_.train.total_batch_size * s_.train.max_seq_length);
    const double flops = (plan_.ops.product_flops + plan_.ops.attention_flops) / took;  // per rank
    log::info(
        "{{\"mode\":\"{}\",\"ranks\":{},\"threads\":{},\"dtype\":\"{}\",\"parameters\":{},\"tokens_per_second\":{:.1f},"
        "\"seconds_per_step\":{:.4f},\"gemm_gflops\":{:.1f},\"share_of_gemm_rate\":{:.3f},{}}}",
        s_.mode, mpi_.size(), s_.train.threads, s_.train.dtype, model_.parameters(), tokens / took, took,
        gemm_rate / 1e9, flops / gemm_rate, shares(profile));
  }

  /// Whole, compute and communication steps in turn, so that each round's three share the machine's mood.
  void run_overlap() {
    const std::array<std::unique_ptr<Rig>, 3> rigs{rig("whole"), rig("compute"), rig("communication")};
    std::array<std::vector<double>, 4> seen;  // of the three, and the exposed share
    std::vector<double> waited;               // of the whole step: the compute stream idle; the rest is contention
    std::vector<double> burnt;                // by communication alone: CPU time, which computation cannot have
    for (int step = 0; step < s_.warmup + s_.steps; ++step) {
      std::array<double, 3> t{};
      const double before = rigs[0]->compute().seconds_waited();
      double burnt_now = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        const double burnt_before = cpu_seconds();
        t[i] = time_step(*rigs[i], step);
        burnt_now = cpu_seconds() - burnt_before;
      }
      if (step < s_.warmup) continue;
      waited.push_back(rigs[0]->compute().seconds_waited() - before);
      burnt.push_back(burnt_now);
      for (std::size_t i = 0; i < 3; ++i) seen[i].push_back(t[i]);
      seen[3].push_back((t[0] - t[1]) / t[2]);
    }
    const auto [least, most] = std::minmax_element(seen[3].begin(), seen[3].end());
    log::info(
        "{{\"mode\":\"overlap\",\"ranks\":{},\"rounds\":{},\"whole\":{:.3f},\"compute\":{:.3f},\"communication\":{:.3f}"
        ","
        "\"communication_cpu\":{:.3f},\"waited\":{:.3f},\"exposed\":{:.3f},\"least\":{:.3f},\"most\":{:.3f}}}",
        mpi_.size(), s_.steps, median(seen[0]), median(seen[1]), median(seen[2]), median(burnt), median(waited),
        median(seen[3]), *least, *most);
  }

  static double median(std::vector<double> of) {
    std::sort(of.begin(), of.end());
    return of[of.size() / 2];
  }

  MpiSession mpi_;
  const Settings s_;
  const ModelConfig model_;
  const RigOptions options_;
  const NodeMap nodes_;
  const MeshOptions mesh_{s_.train.sharding, 0, 120, ""};
  const TrainingPlan plan_;
  cpu::Device device_;
  const std::vector<HostBatch> batches_;
  PlannedOps ignored_;
};

}  // namespace
}  // namespace sherd

int main(int argc, char** argv) {
  try {
    sherd::Bench(sherd::parse(argc, argv)).run();
  } catch (const std::exception& e) {
    sherd::log::error("{}", e.what());
    return 1;
  }
}
