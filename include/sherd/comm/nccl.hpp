#pragma once
// Collectives between GPUs through NCCL. A build without NCCL links nccl_stub.cpp, which says so.
#include <memory>
#include <string>

#include "sherd/comm/communicator.hpp"
#include "sherd/comm/mpi.hpp"

namespace sherd {

/// True in a build with NCCL.
bool nccl_available();

/// The axis of `comm`'s ranks; MPI only passes NCCL's unique id around. It runs on streams of a cuda::Device. Usage
/// error in a build without NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(MpiComm comm, std::string axis, MpiOptions options);

}  // namespace sherd
