#pragma once
// Collectives of CUDA tensors without NCCL: a tensor is copied to page-locked host memory, MPI's communicator works on
// it there, and what comes out is copied back. Sums are the CPU's, bit by bit. For builds without NCCL, and for ranks
// that share a device, which NCCL refuses. A build without CUDA links cuda/staged_stub.cpp, which says so.
#include <cstdint>
#include <memory>
#include <string>

#include "sherd/comm/communicator.hpp"
#include "sherd/comm/mpi.hpp"

namespace sherd {

/// The host memory that the collectives of one rank pass through, one at a time, for its axes share the communication
/// stream. Outlives the communicators that it makes; they run on streams of a cuda::Device.
class HostStaging {
 public:
  virtual ~HostStaging() = default;
  /// The axis of `comm`'s ranks. Order, bits, traffic, deadlines and messages are those of make_mpi_communicator; a
  /// tensor larger than the staging goes in pieces, and each is an entry of its own in the flight record.
  virtual std::unique_ptr<Communicator> over_mpi(MpiComm comm, std::string axis, MpiOptions options) = 0;
  /// An axis of one rank.
  virtual std::unique_ptr<Communicator> alone(std::string axis) = 0;
};

/// Page-locked bytes of a rank: long copies reach the bus's rate, and a node's ranks together lock little.
constexpr std::int64_t kHostStagingBytes = std::int64_t{32} << 20;

/// At least 64 KiB. After make_device of a cuda::Device. Usage error in a build without CUDA.
std::unique_ptr<HostStaging> make_host_staging(std::int64_t bytes = kHostStagingBytes);

}  // namespace sherd
