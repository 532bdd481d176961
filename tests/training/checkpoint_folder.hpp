#pragma once
// Checkpoints of a test's runs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "../mpi/session.hpp"
#include "sherd/train/checkpointing.hpp"
#include "training_run.hpp"

namespace sherd::test {

/// A folder that all ranks share, removed at the end.
class CheckpointFolder {
 public:
  CheckpointFolder() {
    std::filesystem::create_directories(path);
    config.output = path.string();
    host->all_gather("");
  }
  ~CheckpointFolder() {
    if (host->rank() == 0) std::filesystem::remove_all(path);
  }
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;

  void save(Rig& rig, std::int64_t step) {
    RunState state;
    state.step = step;
    sherd::save(config, state, rig, *host);
  }
  void restore(Rig& rig, const RunSpec& spec, std::int64_t step) {
    EXPECT_EQ(sherd::restore(config, small_llama(spec), "", rig, *host).step, step);
  }

  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sherd-moments-" + std::to_string(getppid()));
  const std::unique_ptr<Exchange> host = mpi_exchange(session().world(), 60);
  TrainConfig config;
};

}  // namespace sherd::test
