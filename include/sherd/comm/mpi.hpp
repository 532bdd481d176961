#pragma once
// MPI: the session, its communicators as owned handles, and the Communicator over one. All traffic is non-blocking
// point-to-point, polled with back-off and a deadline, so that a rank that does not come is named instead of waited
// for.
#include <mpi.h>

#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "sherd/comm/communicator.hpp"

namespace sherd {

/// Throws comm_error with MPI's own text unless rc is MPI_SUCCESS.
void mpi_check(int rc, const char* call, std::source_location at = std::source_location::current());
#define MPI_CHECK(call) ::sherd::mpi_check((call), #call)

/// An owned MPI_Comm whose errors are returned, not fatal. Making one is collective over the parent.
class MpiComm {
 public:
  static MpiComm duplicate(MPI_Comm parent);
  static MpiComm split(MPI_Comm parent, int color, int key);
  /// The ranks that share memory with this one: its node.
  static MpiComm split_node(MPI_Comm parent);
  ~MpiComm();
  MpiComm(MpiComm&& other) noexcept;
  MpiComm& operator=(MpiComm&&) = delete;

  MPI_Comm get() const { return comm_; }
  int rank() const;
  int size() const;

 private:
  explicit MpiComm(MPI_Comm comm);
  MPI_Comm comm_ = MPI_COMM_NULL;
};

/// MPI between its two calls, once per process: started by srun, mpirun, or alone as a world of one rank. One thread at
/// a time may call MPI (MPI_THREAD_SERIALIZED): the communication stream's in a step, the main one after
/// Rig::synchronize().
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();  // finalizes; on the way of an exception it ends the job instead, for the peers would wait
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  MPI_Comm world() const { return MPI_COMM_WORLD; }
  /// Ends every rank of the job; the launcher returns `code`.
  [[noreturn]] void abort(ExitCode code) const noexcept;

 private:
  int rank_ = 0, size_ = 1;
  int exceptions_ = 0;
};

/// Landing buffers of a reduction: one slab per process, taken from the persistent arena, shared by the axes because
/// they share the communication stream.
constexpr std::int64_t kStagingBytes = std::int64_t{8} << 20;

struct MpiOptions {
  double timeout_seconds = 300;  // without a message from anybody; then the collective fails and names the missing
  std::vector<std::string> rank_names;     // how messages name each rank of the axis: "rank 3 (node1)"; empty: "rank 3"
  std::string flight_record;               // file for the last collectives when one fails; empty: none
  std::int64_t message_bytes = 512 << 10;  // longer ones are split, for MPI moves a message only while it is polled
};

/// `staging`: contiguous, at least 64 KiB. It runs on streams of a cpu::Device.
std::unique_ptr<Communicator> make_mpi_communicator(MpiComm comm, std::string axis, Tensor staging, MpiOptions options);

}  // namespace sherd
