#pragma once
// What the ranks of `sherd prepare` tell each other: a few short strings. (Training uses comm/'s Communicator;
// preparing a corpus needs no device, no stream and no mesh.)
#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

namespace sherd {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Everybody's string, in rank order. Collective; also a barrier.
  virtual std::vector<std::string> all_gather(const std::string& mine) = 0;
};

std::unique_ptr<Exchange> self_exchange();              // one process, no MPI call
std::unique_ptr<Exchange> mpi_exchange(MPI_Comm comm);  // comm is borrowed; one thread calls

}  // namespace sherd
