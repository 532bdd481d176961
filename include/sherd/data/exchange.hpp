#pragma once
// What the ranks tell each other outside of a step: a few short strings, and what went wrong. (A step uses comm/'s
// Communicator; this needs no device, no stream and no mesh.)
#include <mpi.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sherd/base/error.hpp"

namespace sherd {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Everybody's string, in rank order. Collective; also a barrier.
  virtual std::vector<std::string> all_gather(const std::string& mine) = 0;
};

std::unique_ptr<Exchange> self_exchange();  // one process, no MPI call
/// Collective over `comm`, which is duplicated; one thread calls. A rank that does not come within the timeout makes
/// the others throw a communication error; rank 0's names it. Long, for a rank may be writing a checkpoint.
std::unique_ptr<Exchange> mpi_exchange(MPI_Comm comm, double timeout_seconds = 1800);

/// Runs `work` on every rank; none if it went well on all, else what the lowest rank where it did not threw, the same
/// on all. Collective.
std::optional<Error> first_error(Exchange& peers, const std::function<void()>& work);

/// The same; every rank throws that error.
void together(Exchange& peers, const std::function<void()>& work);

}  // namespace sherd
