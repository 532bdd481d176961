#include "sherd/data/prepare.hpp"

#include "commands.hpp"

namespace sherd::app {

int prepare(const PrepareConfig& config, const MpiSession& mpi) {
  const std::unique_ptr<Exchange> peers = mpi_exchange(mpi.world());
  sherd::prepare(config, *peers);  // it logs its progress and its result
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
