// Streams and events: every legal order gives the same bits, no access is unordered, and no wait is there in vain.
#include <gtest/gtest.h>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

RunSpec spec_of(const std::string& strategy, bool tied, Recompute recompute = {Recompute::Mode::none, 1}) {
  RunSpec spec;
  spec.strategy = strategy;
  spec.nodes = strategy == "hybrid" ? 2 : 1;
  spec.tied = tied;
  spec.recompute = recompute;
  spec.steps = 2;
  return spec;
}

/// What this job's number of ranks can run.
std::vector<RunSpec> all_specs() {
  std::vector<RunSpec> specs;
  for (const bool tied : {false, true}) {
    specs.push_back(spec_of("none", tied));
    specs.push_back(spec_of("full", tied));
    specs.push_back(spec_of("full", tied, {Recompute::Mode::segments, 2}));
    if (session().size() % 2 == 0) specs.push_back(spec_of("hybrid", tied));
  }
  for (const int prefetch : {2, 3}) {
    specs.push_back(spec_of("full", false));
    specs.back().prefetch = prefetch;
    specs.push_back(spec_of("full", true, {Recompute::Mode::segments, 2}));
    specs.back().prefetch = prefetch;
  }
  specs.push_back(spec_of("full", false));
  specs.back().layers =
      2;  // as many blocks as slots: nothing is gathered between micro-batches, so no gather orders them
  for (const std::string strategy : {"none", "full", "hybrid"}) {
    if (strategy == "hybrid" && session().size() % 2 != 0) continue;
    specs.push_back(spec_of(strategy, false));
    specs.back().optimizer_in_backward = true;
    specs.back().batch = specs.back().global_batch / session().size();
    specs.back().max_grad_norm = 0;
  }
  return specs;
}

TEST(Schedules, EveryOrderGivesTheSameBitsWithoutHazard) {
  for (RunSpec spec : all_specs()) {
    SCOPED_TRACE(spec.strategy + (spec.tied ? ", tied" : ""));
    const RunResult expected = run_training(spec);  // threads
    for (const cpu::Schedule schedule : {cpu::Schedule::in_order, cpu::Schedule::first_stream_first,
                                         cpu::Schedule::last_stream_first, cpu::Schedule::alternating}) {
      spec.device.schedule = schedule;
      spec.device.check_hazards = true;
      const RunResult found = run_training(spec);
      EXPECT_EQ(found.losses, expected.losses);
      EXPECT_EQ(found.state_hash, expected.state_hash);
    }
  }
}

/// True if leaving out the waits at `site` is reported under one of the specs.
bool is_missed(const cpu::WaitSite& site, const std::vector<RunSpec>& specs) {
  for (RunSpec spec : specs) {
    spec.device.schedule = cpu::Schedule::in_order;
    spec.device.check_hazards = true;
    try {
      run_training(spec, &site);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("missing wait"), std::string::npos) << e.what();
      return true;
    }
  }
  return false;
}

TEST(Schedules, EveryWaitIsNeeded) {
  if (session().size() != 4) GTEST_SKIP() << "only 4 ranks have all axes";
  std::set<cpu::WaitSite> sites;
  for (RunSpec spec : all_specs()) {
    spec.device.schedule = cpu::Schedule::in_order;
    spec.device.check_hazards = true;
    sites.merge(run_training(spec).wait_sites);
  }
  EXPECT_GE(sites.size(), 9u);
  int noticed = 0;
  for (const cpu::WaitSite& site : sites) {
    const bool missed = is_missed(site, all_specs());
    noticed += missed ? 1 : 0;
    EXPECT_TRUE(missed) << site.first << ":" << site.second << " can be deleted unnoticed";
  }
  if (session().rank() == 0) figure("schedule: {} waits, {} noticed when deleted", sites.size(), noticed);
}

}  // namespace
}  // namespace sherd::test
