// train_bench: steps of a Llama of a given shape on random tokens, timed. One JSON line: tokens per second of the
// median round and of all, MFU, memory, what it ran with and on.
//
//   --mode whole             the step
//   --mode forward-backward  its micro-batches alone: neither norm nor clipping nor optimizer
//   --mode compute           the step with communicators that send nothing
//   --mode communication     the step with ops that compute nothing
//   --profile N              with mode whole: "idle_share" and others, of N more steps (CPU: 2), which are traced
//   --mode overlap           all three in turn: exposed communication = (whole - compute) / communication, by rounds
//
// Every setting of `sherd train` has its own name (--model takes a config.json). A round is --steps steps between two
// synchronizations of all streams. Products are tuned first, as in a run. Starts alone or under mpirun.
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <optional>

#include "../../src/app/fit.hpp"
#include "passes.hpp"
#include "sherd/base/log.hpp"
#include "sherd/config/command_line.hpp"
#include "sherd/config/validate.hpp"
#include "sherd/file/json.hpp"
#include "sherd/ops/backend.hpp"
#include "sherd/train/algorithms.hpp"
#include "sherd/train/step_profile.hpp"
#include "train_settings.hpp"

namespace sherd::bench {
namespace {

/// Dense bf16 products by NVIDIA's datasheets of H100 SXM and H200 SXM, FLOP/s.
constexpr double kHopperPeak = 989e12;

/// Of the time in which the compute stream was busy: products, attention, and all else. And the share that it was idle.
std::string shares(const std::optional<TimeShares>& traced) {
  if (!traced) return "\"idle_share\":null";
  const double busy = 1 - traced->idle;
  const auto share = [&](OpKind kind) { return traced->of.at(static_cast<std::size_t>(kind)) / busy; };
  const double products = share(OpKind::gemm), attention = share(OpKind::attention);
  return fmt::format(R"("idle_share":{:.5f},"product_share":{:.4f},"attention_share":{:.4f},"other_share":{:.4f})",
                     traced->idle, products, attention, 1 - products - attention);
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

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  const std::size_t n = of.size();
  return n % 2 == 1 ? of[n / 2] : (of[n / 2 - 1] + of[n / 2]) / 2;
}

/// The lines of the chosen algorithms that say for which device and library, as JSON.
std::string headers_of(const std::string& algorithms) {
  std::string lines;
  for (std::size_t at = 0; at < algorithms.size();) {
    const std::size_t end = std::min(algorithms.find('\n', at), algorithms.size());
    const std::string line = algorithms.substr(at, end - at);
    if (line.starts_with("sherd-")) lines += fmt::format("{}{}", lines.empty() ? "" : ",", json_quote(line));
    at = end + 1;
  }
  return fmt::format("[{}]", lines);
}

/// One process of the benchmark: what the modes share.
class Bench {
 public:
  Bench(const MpiSession& mpi, Settings settings)
      : mpi_(mpi),
        host_(mpi_exchange(mpi_.world())),
        nodes_(NodeMap::discover(mpi_)),
        s_(settled(std::move(settings))),
        model_(load_model_config(s_.train.model)),
        machine_(app::open_machine(s_.train, nodes_, *host_)),
        options_(rig_options(s_.train)),
        mesh_(app::mesh_options(s_.train, machine_.shares)),
        plan_(plan_training(model_, options_, planned())),
        batches_(random_batches(s_, model_.vocab_size, mpi_.rank())) {
    together(*host_, [&] { app::require_fit(plan_, s_.train, model_, nodes_, machine_, mpi_.rank()); });
  }

  void run() { s_.mode == "overlap" ? run_overlap() : run_mode(); }

 private:
  Settings settled(Settings s) {
    s.train.output = "";  // or the flight recorder would write there
    validate(s.train, mpi_.size());
    s.train.device = app::settle_device(s.train.device, nodes_, *host_);
    return s;
  }
  std::function<Mesh(Arena&)> planned() const {
    return [this](Arena& a) { return Mesh::planned(nodes_, mesh_, a); };
  }

  std::unique_ptr<Rig> rig(const std::string& mode) {
    const auto real_mesh = [this](Arena& a) { return Mesh::make(mpi_, nodes_, mesh_, a); };
    const auto no_ops = [this](Tensor) { return make_recording_ops(ignored_); };
    const bool computes = mode != "communication";
    auto made = std::make_unique<Rig>(*machine_.device,
                                      Rig::Makers{mode == "compute" ? planned() : real_mesh,
                                                  computes ? backend_of(s_.train.device).make_ops
                                                           : std::function<std::unique_ptr<Ops>(Tensor)>(no_ops)},
                                      model_, options_, plan_.allocate(*machine_.device));
    made->initialize(1);
    if (computes) {
      algorithms_ =
          settle_algorithms(*made, algorithm_needs(plan_, options_, most_documents(batches_)), algorithms_, *host_);
    }
    return made;
  }

  /// Seconds that `work` and what it enqueues take, on the slowest rank; all ranks begin together.
  double time(Rig& rig, const std::function<void()>& work) {
    rig.synchronize();
    MPI_Barrier(mpi_.world());
    const auto begin = std::chrono::steady_clock::now();
    work();
    rig.synchronize();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.world());
    return seconds;
  }

  /// Steps `number` to `end` - 1 as the trainer has them: the host runs ahead where it may. `loss`: of the last.
  void run_steps(TrainStep& step, std::int64_t& number, std::int64_t end, double& loss) {
    while (number < end || step.under_way() > 0) {
      const std::size_t ahead = step.runs_ahead() ? TrainStep::kAhead : 1;
      while (number < end && step.under_way() < ahead) step.enqueue(number++, batches_, s_.train.learning_rate);
      loss = step.finish().loss;
    }
  }

  /// What --profile N more steps are made of. They run without recordings (CUDA graphs), whose operations no trace
  /// sees, and with events around every operation, so a GPU runs them only if asked to; a CPU two, unasked.
  std::optional<TimeShares> traced_shares(Rig& rig, std::int64_t number) {
    const std::int64_t steps = s_.train.profile > 0 ? s_.train.profile : machine_.kind == "cuda" ? 0 : 2;
    if (s_.mode != "whole" || steps == 0) return std::nullopt;
    Trace& trace = machine_.device->trace();
    TrainStep& step = rig.step();
    const std::int64_t end = number + steps;
    step.use_recordings(false);
    rig.synchronize();
    trace.start(StepProfile::kMostSlices);
    while (number < end || step.under_way() > 0) {
      const std::size_t ahead = step.runs_ahead() ? TrainStep::kAhead : 1;
      while (number < end && step.under_way() < ahead) {
        trace.set_step(number + 1);
        rig.compute().mark(kStepBegins);
        step.enqueue(number++, batches_, s_.train.learning_rate);
        rig.compute().mark(kStepEnds);
      }
      step.finish();
    }
    rig.synchronize();
    trace.pause();
    return shares_of(read_profile(trace.take(), trace.streams()).steps);
  }

  void run_mode() {
    const double gemm_rate =
        app::mean_rates(machine_, options_.shard.param_dtype, false, *host_).flops * static_cast<double>(mpi_.size());
    const std::unique_ptr<Rig> rig = this->rig(s_.mode);
    std::unique_ptr<Passes> passes;
    if (s_.mode == "forward-backward") passes = std::make_unique<Passes>(*rig, *machine_.device, batches_);
    std::int64_t number = 0;
    double loss = 0;
    const auto steps = [&](std::int64_t count) {
      const std::int64_t end = number + count;
      if (!passes) return run_steps(rig->step(), number, end, loss);
      while (number < end) passes->enqueue(number++);
    };
    time(*rig, [&] { steps(s_.warmup); });
    std::vector<double> seconds;
    for (std::int64_t round = 0; round < s_.rounds; ++round) {
      seconds.push_back(time(*rig, [&] { steps(s_.steps); }) / static_cast<double>(s_.steps));
    }
    if (passes) loss = passes->loss();
    const std::optional<TimeShares> traced = traced_shares(*rig, number);
    if (mpi_.rank() == 0) fmt::print("{}\n", report(seconds, gemm_rate, loss, traced));
  }

  /// seconds: of a step, by rounds. gemm_rate: of all ranks.
  std::string report(const std::vector<double>& seconds, double gemm_rate, double loss,
                     const std::optional<TimeShares>& traced) const {
    const double took = median(seconds), ranks = mpi_.size();
    const auto tokens = static_cast<double>(s_.train.total_batch_size * s_.train.max_seq_length);
    const double flops = plan_.ops.product_flops + plan_.ops.attention_flops;  // per rank, with what is recomputed
    const double model_flops = model_.flops_per_token(s_.train.max_seq_length), reached = model_flops * tokens / took;
    const std::string device = machine_.device->describe();
    const bool hopper = device.find("H100") != std::string::npos || device.find("H200") != std::string::npos;
    std::string rounds;
    for (const double s : seconds) rounds += fmt::format("{}{:.7g}", rounds.empty() ? "" : ",", tokens / s);
    return fmt::format(
               R"({{"bench":"train","mode":"{}","ranks":{},"threads":{},"dtype":"{}","parameters":{},)"
               R"("tokens_per_second":{:.7g},"rounds":[{}],"seconds_per_step":{:.6f},"tokens_per_step":{},"loss":{:.5f},)",
               s_.mode, mpi_.size(), machine_.threads, s_.train.dtype, model_.parameters(), tokens / took, rounds, took,
               tokens, loss) +
           fmt::format(
               R"("model_flop_per_token":{:.6g},"mfu_convention":"causal","mfu_of_datasheet":{},"datasheet":{},)"
               R"("gemm_gflops":{:.1f},"mfu_of_gemm_rate":{:.4g},"share_of_gemm_rate":{:.4f},)",
               model_flops, hopper ? fmt::format("{:.4g}", reached / (ranks * kHopperPeak)) : "null",
               hopper ? "\"989 TFLOP/s, bf16, H100 and H200 SXM\"" : "null", gemm_rate / 1e9, reached / gemm_rate,
               ranks * flops / took / gemm_rate) +
           fmt::format(
               R"("persistent_bytes":{},"activation_bytes":{},"documents_per_row":{},"valid_targets":{},"device":{},)"
               R"("cuda":{},"algorithms":{},"settings":{},{}}})",
               plan_.persistent_bytes, plan_.activation_bytes, most_documents(batches_), valid_targets(),
               json_quote(device), json_quote(cuda::version()), headers_of(algorithms_), changed_settings(s_),
               shares(traced));
  }
  std::int64_t valid_targets() const {
    std::int64_t valid = 0;
    for (const HostBatch& b : batches_) valid += b.valid;
    return valid;
  }

  /// Whole, compute and communication steps in turn, so that each round's three share the machine's mood.
  void run_overlap() {
    const std::array<std::unique_ptr<Rig>, 3> rigs{rig("whole"), rig("compute"), rig("communication")};
    std::array<std::vector<double>, 4> seen;  // of the three, and the exposed share
    std::vector<double> waited;               // of the whole step: the compute stream idle; the rest is contention
    std::vector<double> burnt;                // by communication alone: CPU time, which computation cannot have
    for (std::int64_t step = 0; step < s_.warmup + s_.rounds; ++step) {
      std::array<double, 3> t{};
      const double before = rigs[0]->compute().seconds_waited();
      double burnt_now = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        const double burnt_before = cpu_seconds();
        t[i] = time(*rigs[i], [&] { rigs[i]->step().run(step, batches_, s_.train.learning_rate); });
        burnt_now = cpu_seconds() - burnt_before;
      }
      if (step < s_.warmup) continue;
      waited.push_back(rigs[0]->compute().seconds_waited() - before);
      burnt.push_back(burnt_now);
      for (std::size_t i = 0; i < 3; ++i) seen[i].push_back(t[i]);
      seen[3].push_back((t[0] - t[1]) / t[2]);
    }
    const auto [least, most] = std::minmax_element(seen[3].begin(), seen[3].end());
    log::info(R"({{"mode":"overlap","ranks":{},"rounds":{},"whole":{:.3f},"compute":{:.3f},"communication":{:.3f},)"
              R"("communication_cpu":{:.3f},"waited":{:.3f},"exposed":{:.3f},"least":{:.3f},"most":{:.3f}}})",
              mpi_.size(), s_.rounds, median(seen[0]), median(seen[1]), median(seen[2]), median(burnt), median(waited),
              median(seen[3]), *least, *most);
  }

  const MpiSession& mpi_;
  const std::unique_ptr<Exchange> host_;
  const NodeMap nodes_;
  const Settings s_;
  const ModelConfig model_;
  const app::Machine machine_;
  const RigOptions options_;
  const MeshOptions mesh_;
  const TrainingPlan plan_;
  const std::vector<HostBatch> batches_;
  PlannedOps ignored_;
  std::string algorithms_;  // what the first rig chose, for those after it
};

/// As the program ends with an error: it is told, then the job ends.
[[noreturn]] void end_with(const Error& error, const std::optional<MpiSession>& mpi) {
  log::error("{}", error.what());
  if (mpi && mpi->size() > 1) mpi->abort(error.code());  // the peers would wait for us
  std::_Exit(static_cast<int>(error.code()));
}

}  // namespace
}  // namespace sherd::bench

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  std::optional<sherd::MpiSession> mpi;  // outlives the try: MPI must still be there when an error is reported
  try {
    if (sherd::asks_for_text(args)) {
      fmt::print("{}", sherd::bench::settings_help());
      return 0;
    }
    sherd::bench::Settings settings = sherd::bench::parse_settings(args);
    mpi.emplace();
    sherd::log::init(mpi->rank(), mpi->size());
    sherd::bench::Bench(*mpi, std::move(settings)).run();
  } catch (const sherd::Error& e) {
    sherd::bench::end_with(e, mpi);
  } catch (const std::exception& e) {
    sherd::bench::end_with({sherd::ExitCode::internal, e.what()}, mpi);
  }
}
