// The settings that save memory: moments in 8 bits, split masters, gradients in bf16, the optimizer inside backward.
// What each of them leaves as it is, to the bit, and what it does to the losses.
#include <cmath>
#include <map>
#include <numeric>

#include "../figure.hpp"
#include "checkpoint_folder.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd::test {
namespace {

RunSpec small(RunSpec spec = {}) {
  spec.dtype = DType::bf16;
  spec.moments_dtype = DType::u8;
  spec.split_master = true;
  return spec;
}

/// One micro-batch a step and no clipping, so that the optimizer may run inside backward.
RunSpec unclipped(RunSpec spec = {}) {
  spec.batch = 12 / (spec.alone ? 1 : session().size());
  spec.max_grad_norm = 0;
  return spec;
}

std::vector<RunSpec> strategies(const RunSpec& spec) {
  std::vector<RunSpec> all;
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    if (strategy == "hybrid" && session().size() % 2 != 0) continue;
    all.push_back(spec);
    all.back().strategy = strategy;
    all.back().nodes = strategy == "hybrid" ? 2 : 1;
  }
  return all;
}

// --- moments in 8 bits

/// The codes of a unit's m and v, and of its split masters, by the element of the unit's flat vector that comes first.
struct Flat {
  std::int64_t first = 0;
  std::vector<std::byte> bytes;
};
std::vector<Flat> states_of(Rig& rig) {
  std::vector<Flat> all;
  ShardedModel& model = rig.model();
  for (int u = 0; u < model.units(); ++u) {
    const UnitState& s = model.state(u);
    for (const Tensor& t : {s.m, s.v, s.scales, s.compute, s.rest}) {
      Flat& flat = all.emplace_back();
      flat.bytes.resize(t.bytes());
      flat.first = rig.mesh().shard->rank() * narrow<std::int64_t>(t.bytes());
      rig.ops().download(t, flat.bytes, rig.compute());
      rig.compute().synchronize();
    }
  }
  return all;
}

std::vector<Flat> states_of_given_gradients(const RunSpec& spec) {
  const TestRig test(spec);
  test.update_by_given_gradients();
  return states_of(test.rig());
}

/// Parameters of odd sizes share blocks, which shards do not cut.
TEST(MomentsIn8Bits, HaveTheSameBitsOnAnyNumberOfRanks) {
  RunSpec alone = small();
  alone.alone = true;
  const std::vector<Flat> whole = states_of_given_gradients(alone);
  std::size_t compared = 0;
  for (const RunSpec& spec : strategies(small())) {
    const std::vector<Flat> own = states_of_given_gradients(spec);
    ASSERT_EQ(own.size(), whole.size());
    for (std::size_t i = 0; i < own.size(); ++i) {
      const std::vector<std::byte>& all = whole[i].bytes;  // more ranks pad more
      const auto first = std::min(narrow<std::size_t>(own[i].first), all.size());
      const std::size_t count = std::min(own[i].bytes.size(), all.size() - first);
      ASSERT_TRUE(std::equal(all.begin() + narrow<std::ptrdiff_t>(first),
                             all.begin() + narrow<std::ptrdiff_t>(first + count), own[i].bytes.begin()))
          << spec.strategy << ", state " << i;
      compared += count;
    }
  }
  EXPECT_GT(compared, 0u);
}

TEST(MemoryModesInCheckpoints, GoOnWithTheSameBits) {
  for (RunSpec spec : strategies(small())) {
    CheckpointFolder folder;
    spec.steps = 6;
    const RunResult straight = run_training(spec);
    RunSpec half = spec;
    half.steps = 3;
    half.end = [&](Rig& rig) { folder.save(rig, 3); };
    run_training(half);
    spec.first_step = 3;
    spec.begin = [&](Rig& rig) { folder.restore(rig, spec, 3); };
    const RunResult resumed = run_training(spec);
    EXPECT_EQ(resumed.losses, std::vector<double>(straight.losses.begin() + 3, straight.losses.end())) << spec.strategy;
    EXPECT_EQ(resumed.state_hash, straight.state_hash) << spec.strategy;
  }
}

// --- the optimizer inside backward

TEST(OptimizerInBackward, GivesTheBitsOfOneThatComesAfter) {
  for (const bool reduced : {false, true}) {
    for (RunSpec spec : strategies(unclipped())) {
      if (reduced) spec = small(spec);
      for (const bool tied : {false, true}) {
        for (const Recompute recompute :
             {Recompute{Recompute::Mode::none, 1}, Recompute{Recompute::Mode::segments, 3}}) {
          spec.tied = tied;
          spec.recompute = recompute;
          spec.steps = 6;
          spec.optimizer_in_backward = false;
          const RunResult after = run_training(spec);
          spec.optimizer_in_backward = true;
          const RunResult inside = run_training(spec);
          EXPECT_EQ(inside.losses, after.losses) << spec.strategy;
          EXPECT_EQ(inside.state_hash, after.state_hash) << spec.strategy;
          EXPECT_EQ(inside.shard.bytes_sent(), after.shard.bytes_sent()) << spec.strategy;
          for (std::size_t i = 0; i < after.norms.size(); ++i)
            EXPECT_NEAR(inside.norms[i], after.norms[i], 1e-6 * after.norms[i]);
          EXPECT_LT(inside.persistent_bytes, after.persistent_bytes);
          EXPECT_EQ(inside.persistent_bytes, inside.plan.persistent_bytes);
          EXPECT_EQ(inside.activation_bytes, inside.plan.activation_bytes);
        }
      }
    }
  }
}

TEST(OptimizerInBackward, RefusesSeveralMicroBatches) {
  RunSpec spec;
  spec.batch = 1;
  spec.alone = true;
  spec.optimizer_in_backward = true;
  EXPECT_THROW(run_training(spec), Error);
}

// --- the host runs ahead

TEST(RunningAhead, GivesTheBitsOfOneStepAfterTheOther) {
  for (RunSpec spec : {RunSpec{}, small(), small(unclipped())}) {
    spec.alone = true;
    spec.optimizer_in_backward = spec.max_grad_norm == 0;
    if (spec.optimizer_in_backward) spec.batch = spec.global_batch;
    spec.steps = 5;
    const RunResult expected = run_training(spec);
    spec.ahead = true;
    for (const cpu::Schedule schedule : {cpu::Schedule::threaded, cpu::Schedule::last_stream_first}) {
      spec.device.schedule = schedule;
      const RunResult found = run_training(spec);
      EXPECT_EQ(found.losses, expected.losses);
      EXPECT_EQ(found.state_hash, expected.state_hash);
      EXPECT_EQ(found.evaluation, expected.evaluation);
    }
  }
}

TEST(RunningAhead, HasItsLimit) {
  for (const bool alone : {true, false}) {
    RunSpec spec;
    spec.alone = alone;
    const TestRig test(spec);
    const std::int64_t accumulation = spec.global_batch / test.rig().mesh().world->size();
    const std::vector<HostBatch> batches(static_cast<std::size_t>(accumulation), HostBatch(1, spec.length));
    test.rig().initialize(1);
    const std::int64_t most = test.rig().step().runs_ahead() ? 2 : 1;
    EXPECT_EQ(most == 2, alone || session().size() == 1);
    for (std::int64_t step = 0; step < most; ++step) test.rig().step().enqueue(step, batches, 0);
    EXPECT_THROW(test.rig().step().enqueue(most, batches, 0), Error);
    EXPECT_THROW(test.rig().step().evaluate([] { return nullptr; }), Error);
    EXPECT_THROW(while (true) test.rig().step().finish(), Error);  // batches without a target have no mean loss
  }
}

// --- losses

/// The mean of the last 20 losses.
double reached(const RunResult& r) {
  return std::accumulate(r.losses.end() - 20, r.losses.end(), 0.0) / 20;
}
/// The mean difference over all steps, in relation to `exact`.
double apart(const RunResult& found, const RunResult& exact) {
  double sum = 0;
  for (std::size_t i = 0; i < exact.losses.size(); ++i) sum += std::abs(found.losses[i] / exact.losses[i] - 1);
  return sum / static_cast<double>(exact.losses.size());
}

struct Mode {
  const char* name;
  RunSpec spec;
  double most_above = 0, most_apart = 0;  // of the loss reached, and of the way there, in relation to fp32 states'
};

/// Four batches are learnt by heart: on ever other ones the loss would soon be that of guessing by frequency, whatever
/// the optimizer.
TEST(MemoryModes, LearnAsFp32StatesDo) {
  RunSpec spec = unclipped();
  spec.dtype = DType::bf16;
  spec.steps = 200;
  spec.layers = 2;
  spec.repeat = 4;
  spec.rate_falls = true;
  const RunResult exact = run_training(spec);
  ASSERT_LT(reached(exact), 0.15 * exact.losses.front());
  std::vector<Mode> modes = {{"masters split", spec, 0.05, 0.1},
                             {"moments in bf16", spec, 0.05, 0.1},
                             {"moments in 8 bits", spec, 0.1, 0.15},
                             {"all, optimizer inside backward", small(spec), 0.1, 0.15}};
  modes[0].spec.split_master = true;
  modes[1].spec.moments_dtype = DType::bf16;
  modes[2].spec.moments_dtype = DType::u8;
  modes[3].spec.optimizer_in_backward = true;
  if (session().size() == 1) {
    modes.push_back({"gradients in bf16", spec, 0.05, 0.1});
    modes.back().spec.grad_dtype = modes[3].spec.grad_dtype = DType::bf16;
    modes.push_back(modes.back());
    modes.back().name = "gradients in bf16, sums of 12 micro-batches";
    modes.back().spec.batch = 1;
  }
  for (const Mode& mode : modes) {
    const RunResult found = run_training(mode.spec);
    if (session().rank() == 0)
      figure("{} on {} ranks: after 200 steps a loss of {:.4f}, with fp32 states {:.4f}; {:.2g} apart on the way",
             mode.name, session().size(), reached(found), reached(exact), apart(found, exact));
    EXPECT_LT(reached(found) / reached(exact) - 1, mode.most_above) << mode.name;
    EXPECT_LT(apart(found, exact), mode.most_apart) << mode.name;
  }
}

}  // namespace
}  // namespace sherd::test
