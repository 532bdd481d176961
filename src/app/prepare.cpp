#include "sherd/data/prepare.hpp"

#include "commands.hpp"
#include "sherd/base/log.hpp"

namespace sherd::app {

int prepare(const PrepareConfig& config, const MpiSession& mpi) {
  const std::unique_ptr<Exchange> peers = mpi_exchange(mpi.world());
  const PrepareReport report = sherd::prepare(config, *peers);
  log::info("{}: {} documents ({} held out), {} tokens, from {:.1f} MB in {:.1f} s ({:.1f} MB/s)", config.output,
            report.documents, report.held_out, report.tokens, static_cast<double>(report.bytes) / 1e6, report.seconds,
            static_cast<double>(report.bytes) / 1e6 / report.seconds);
  if (report.bad_lines > 0) log::warn("{} broken lines were left out", report.bad_lines);
  return static_cast<int>(ExitCode::done);
}

}  // namespace sherd::app
