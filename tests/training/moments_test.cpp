// AdamW's moments in bf16, rounded stochastically: the same bits on any number of ranks, after a checkpoint, and losses
// beside those of moments in fp32.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "checkpoint_folder.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

RunSpec in_bf16(RunSpec spec = {}) {
  spec.moments_dtype = DType::bf16;
  return spec;
}

/// Whole on one rank, parts of parameters on several: the elements from `first` on.
struct Part {
  std::int64_t first = 0;
  std::vector<float> values;
};
using Parts = std::map<std::string, Part>;  // by parameter; a shard has one run of each

std::vector<float> values_of(Rig& rig, Tensor t) {
  std::vector<float> values(static_cast<std::size_t>(t.numel()));
  std::vector<bf16> rounded(t.dtype == DType::bf16 ? values.size() : 0);
  rig.ops().download(
      t, rounded.empty() ? std::as_writable_bytes(std::span(values)) : std::as_writable_bytes(std::span(rounded)),
      rig.compute());
  rig.compute().synchronize();
  for (std::size_t i = 0; i < rounded.size(); ++i) values[i] = static_cast<float>(rounded[i]);
  return values;
}

Parts parts_of(Rig& rig, Tensor UnitState::*member) {
  Parts parts;
  for (int u = 0; u < rig.model().units(); ++u)
    for (const ShardPiece& p : rig.model().pieces(u))
      parts[p.spec->name] = {p.first, values_of(rig, (rig.model().state(u).*member).flat(p.offset, p.count))};
  return parts;
}

/// After given gradients: m and v.
std::pair<Parts, Parts> moments_of_given_gradients(const RunSpec& spec) {
  const TestRig test(spec);
  test.update_by_given_gradients();
  return {parts_of(test.rig(), &UnitState::m), parts_of(test.rig(), &UnitState::v)};
}

TEST(Moments, HaveTheSameBitsOnAnyNumberOfRanks) {
  RunSpec alone = in_bf16();
  alone.alone = true;
  const auto [whole_m, whole_v] = moments_of_given_gradients(alone);
  std::size_t compared = 0;
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    if (strategy == "hybrid" && session().size() % 2 != 0) continue;
    RunSpec spec = in_bf16();
    spec.strategy = strategy;
    spec.nodes = strategy == "hybrid" ? 2 : 1;
    const auto [m, v] = moments_of_given_gradients(spec);
    for (const auto& [part, whole] : {std::pair(&m, &whole_m), std::pair(&v, &whole_v)})
      for (const auto& [name, own] : *part) {
        const std::vector<float>& all = whole->at(name).values;
        const auto begin = all.begin() + own.first;
        ASSERT_EQ(own.values, std::vector<float>(begin, begin + std::ssize(own.values))) << strategy << ", " << name;
        compared += own.values.size();
      }
  }
  EXPECT_GT(compared, 0u);
}

/// Replicas that rounded with bits of their own would drift apart.
TEST(Moments, AreTheSameOnAllReplicas) {
  const std::unique_ptr<Exchange> host = mpi_exchange(session().world(), 20);
  RunSpec spec = in_bf16();
  spec.strategy = "none";
  spec.steps = 5;
  const RunResult r = run_training(spec);
  for (const std::string& other : host->all_gather(std::to_string(r.state_hash)))
    EXPECT_EQ(other, std::to_string(r.state_hash));
}

/// Largest difference of two runs' losses, in relation to them.
double distance(const RunResult& a, const RunResult& b) {
  double worst = std::abs(a.evaluation / b.evaluation - 1);
  for (std::size_t i = 0; i < b.losses.size(); ++i) worst = std::max(worst, std::abs(a.losses[i] / b.losses[i] - 1));
  return worst;
}

/// Gradients differ by the order of sums, and where a moment is that near to a bf16 it may go to the other side.
TEST(Moments, GiveTheLossesOfOneRankUnderEveryStrategy) {
  constexpr double kBound = 1e-4;
  RunSpec alone = in_bf16();
  alone.alone = true;
  alone.batch = 12;
  const RunResult expected = run_training(alone);
  double worst = 0;
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    if (strategy == "hybrid" && session().size() % 2 != 0) continue;
    RunSpec spec = in_bf16();
    spec.strategy = strategy;
    spec.nodes = strategy == "hybrid" ? 2 : 1;
    worst = std::max(worst, distance(run_training(spec), expected));
  }
  EXPECT_LT(worst, kBound);
  if (session().rank() == 0)
    figure("moments in bf16 on {} ranks: losses differ from one rank's by {:.2g} of at most {:.2g}", session().size(),
           worst, kBound);
}

/// The mean of the last 20 losses.
double reached(const RunResult& r) {
  return std::accumulate(r.losses.end() - 20, r.losses.end(), 0.0) / 20;
}

/// Four batches are learnt by heart: on ever other ones the loss would soon be that of guessing by frequency, whatever
/// the optimizer.
TEST(Moments, LearnAsThoseInFp32Do) {
  RunSpec spec;
  spec.steps = 200;
  spec.layers = 2;
  spec.repeat = 4;
  spec.rate_falls = true;
  const RunResult exact = run_training(spec), rounded = run_training(in_bf16(spec));
  ASSERT_LT(reached(exact), 0.1 * exact.losses.front());
  double apart = 0;  // mean over all steps
  for (std::size_t i = 0; i < exact.losses.size(); ++i)
    apart += std::abs(rounded.losses[i] / exact.losses[i] - 1) / static_cast<double>(exact.losses.size());
  EXPECT_LT(std::abs(reached(rounded) / reached(exact) - 1), 0.02);
  EXPECT_LT(apart, 0.1);
  if (session().rank() == 0)
    figure(
        "moments in bf16 on {} ranks: after 200 steps a loss of {:.4f}, with fp32 {:.4f}, at first {:.4f}; {:.2g} "
        "apart",
        session().size(), reached(rounded), reached(exact), exact.losses.front(), apart);
}

// --- checkpoints

TEST(MomentsInCheckpoints, GoOnWithTheSameBits) {
  CheckpointFolder folder;
  RunSpec spec = in_bf16();
  spec.steps = 6;
  const RunResult straight = run_training(spec);
  RunSpec half = spec;
  half.steps = 3;
  half.end = [&](Rig& rig) { folder.save(rig, 3); };
  run_training(half);
  spec.first_step = 3;
  spec.begin = [&](Rig& rig) { folder.restore(rig, spec, 3); };
  const RunResult resumed = run_training(spec);
  EXPECT_EQ(resumed.losses, std::vector<double>(straight.losses.begin() + 3, straight.losses.end()));
  EXPECT_EQ(resumed.state_hash, straight.state_hash);
}

/// Saves with moments of one dtype, loads with the other; `expected` of a saved value is the loaded one.
void expect_loaded(DType saved, DType loaded, const std::function<float(float)>& expected) {
  CheckpointFolder folder;
  Parts before;
  RunSpec spec;
  spec.steps = 2;
  spec.moments_dtype = saved;
  spec.end = [&](Rig& rig) {
    before = parts_of(rig, &UnitState::v);
    folder.save(rig, 2);
  };
  run_training(spec);
  spec.moments_dtype = loaded;
  spec.first_step = 2;
  spec.begin = [&](Rig& rig) { folder.restore(rig, spec, 2); };
  spec.end = [&](Rig& rig) {
    const Parts after = parts_of(rig, &UnitState::v);
    ASSERT_EQ(after.size(), before.size());
    for (auto& [name, part] : before) {
      for (float& x : part.values) x = expected(x);
      ASSERT_EQ(after.at(name).values, part.values) << name;
    }
  };
  run_training(spec);
}

TEST(MomentsInCheckpoints, AreRoundedToNearestFromFp32) {
  expect_loaded(DType::f32, DType::bf16, [](float x) { return static_cast<float>(bf16(x)); });
}
TEST(MomentsInCheckpoints, AreExactInFp32) {
  expect_loaded(DType::bf16, DType::f32, [](float x) { return x; });
}

}  // namespace
}  // namespace sherd::test
