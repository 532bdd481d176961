// Linked when the build has no NCCL.
#include "sherd/base/error.hpp"
#include "sherd/comm/nccl.hpp"

namespace sherd {

bool nccl_available() {
  return false;
}

std::unique_ptr<Communicator> make_nccl_communicator(MpiComm, std::string, MpiOptions) {
  throw usage_error("--device cuda: this build has no NCCL; use --device cpu, or leave it out");
}

}  // namespace sherd
