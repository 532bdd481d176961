#pragma once
// The bodies of the subcommands, a file each. They return the exit code and throw sherd::Error; only main catches.
#include "sherd/comm/mpi.hpp"
#include "sherd/config/subcommands.hpp"

namespace sherd::app {

int plan(const PlanConfig& config);
int export_checkpoint(const ExportConfig& config);
int generate(const GenerateConfig& config);
int inspect(const InspectConfig& config);
int prepare(const PrepareConfig& config, const MpiSession& mpi);
int train(const TrainConfig& config, const MpiSession& mpi);

/// What --version prints: Sherd and the libraries it runs on.
std::string version_text();

}  // namespace sherd::app
