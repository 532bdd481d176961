#include "sherd/data/prepare.hpp"

#include "commands.hpp"
#include "machine.hpp"
#include "sherd/base/log.hpp"

namespace sherd::app {

int prepare(const PrepareConfig& given, const MpiSession& mpi) {
  const std::unique_ptr<Exchange> peers = mpi_exchange(mpi.world());
  PrepareConfig config = given;
  if (config.threads == 0) config.threads = threads_per_rank(0, NodeMap::discover(mpi), *peers);
  const PrepareReport r = sherd::prepare(config, *peers);  // it logs its progress
  const double megabytes = static_cast<double>(r.bytes) / 1e6;
  log::info("prepare: {}: {} documents ({} held out), {} tokens, from {:.1f} MB in {:.1f} s ({:.1f} MB/s)",
            config.output, r.documents, r.held_out, r.tokens, megabytes, r.seconds, megabytes / r.seconds);
  if (r.bad_lines > 0) log::info("prepare: {} broken lines were skipped", r.bad_lines);
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
