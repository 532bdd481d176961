// What one mesh saves another loads: the nodes of training_run.hpp deal their ranks in turn, so the first shard group
// is not the first ranks.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "../mpi/session.hpp"
#include "sherd/train/checkpointing.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

namespace fs = std::filesystem;

/// A folder that all ranks of this job share: they have one parent, mpirun.
fs::path shared_folder() {
  return fs::temp_directory_path() / ("sherd-checkpoint-" + std::to_string(getppid()));
}

std::vector<float> masters(ShardedModel& model) {
  std::vector<float> all;
  for (int u = 0; u < model.units(); ++u) {
    const Tensor t = model.state(u).master;
    all.insert(all.end(), t.ptr<float>(), t.ptr<float>() + t.numel());
  }
  return all;
}

TEST(Checkpoint, IsSavedAndRestoredByGroupsOfScatteredRanks) {
  const std::unique_ptr<Exchange> host = mpi_exchange(session().world());
  TrainConfig config;
  config.output = shared_folder().string();
  for (const std::string strategy : {"hybrid", "full", "none"}) {
    SCOPED_TRACE(strategy);
    RunSpec spec;
    spec.strategy = strategy;
    spec.nodes = 2;
    TestRig saved(spec);
    saved.rig().initialize(7);
    RunState saving{3, 1000, 0};
    save(config, saving, saved.rig(), *host);
    TestRig restored(spec);
    const RunState state = restore(config, small_llama(spec), "", restored.rig(), *host);
    EXPECT_EQ(state.step, 3);
    EXPECT_EQ(masters(restored.rig().model()), masters(saved.rig().model()));
    host->all_gather("");
    if (host->rank() == 0) fs::remove_all(shared_folder());
    host->all_gather("");
  }
}

}  // namespace
}  // namespace sherd::test
