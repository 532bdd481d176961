#pragma once
// A small training run for tests: a Llama with shapes that no world size divides, on batches that are functions of
// (step, sequence), over any mesh that this job's ranks can form.
#include <functional>
#include <string>
#include <vector>

#include "sherd/device/cpu/device.hpp"
#include "sherd/plan/training_plan.hpp"
#include "sherd/train/rig.hpp"

namespace sherd::test {

struct RunSpec {
  std::string strategy = "full";
  std::int64_t shard_size = 0;
  int nodes = 1;           // pretended; ranks are dealt to them in turn, so a node's ranks are not contiguous
  bool alone = false;      // on one rank, without peers: the reference
  std::int64_t batch = 1;  // B; accumulation follows from the global batch
  std::int64_t global_batch = 12;
  std::int64_t steps = 20;
  std::int64_t length = 24;
  bool tied = false;
  std::int64_t layers = 4;
  bool aligned = false;  // widths that fill 16 bytes and tensor cores, instead of odd ones
  DType dtype = DType::f32;
  bool fp8 = false;
  DType reduce_dtype = DType::f32;
  DType moments_dtype = DType::f32;
  bool split_master = false, optimizer_in_backward = false;
  DType grad_dtype = DType::f32;
  bool record = true;  // CUDA graphs
  bool ahead = false;  // a step is enqueued before the one before it is finished; traffic is then not told
  int prefetch = 1;
  Recompute recompute{Recompute::Mode::none, 1};
  std::string backend = "cpu";
  cpu::Options device{};       // of the CPU's
  bool debug = false;          // of CUDA's: wait after every op
  float max_grad_norm = 0.5f;  // clips the first steps, not the later ones
  std::int64_t first_step = 0;
  bool rate_falls = false;          // the learning rate: to zero at the end, instead of being constant
  std::int64_t repeat = 0;          // steps after which the same batches come again, to be learnt by heart; 0: never
  std::function<void(Rig&)> begin;  // instead of initialisation
  std::function<void(Rig&)> end;    // after the last step
};

struct RunResult {
  std::vector<double> losses, norms;
  double evaluation = 0;
  std::uint64_t state_hash = 0;  // of this rank's masters and moments, bit by bit
  std::size_t persistent_bytes = 0, activation_bytes = 0;
  TrainingPlan plan;
  Traffic shard, replicate, world;  // of the last step
  std::set<cpu::WaitSite> wait_sites;
};

ModelConfig small_llama(const RunSpec& spec);

/// The planned memory and the rig of such a run. Collective over the job unless spec.alone.
class TestRig {
 public:
  explicit TestRig(const RunSpec& spec, const cpu::WaitSite* ignored = nullptr);
  Rig& rig() const { return *rig_; }
  const TrainingPlan& plan() const { return plan_; }
  Device& device() const { return *device_; }
  /// Initialises, and takes three steps of the optimizer alone, on gradients that are functions of parameter and
  /// element: their bits depend on no order of summing.
  void update_by_given_gradients() const;

 private:
  ModelConfig config_;  // the rig refers to it
  TrainingPlan plan_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Rig> rig_;
};

/// Collective over the job unless spec.alone. `ignored`: waits at this site are left out.
RunResult run_training(const RunSpec& spec, const cpu::WaitSite* ignored = nullptr);

}  // namespace sherd::test
