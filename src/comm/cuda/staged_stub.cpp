// Linked when the build has no CUDA.
#include "sherd/base/error.hpp"
#include "sherd/comm/staged.hpp"

namespace sherd {

std::unique_ptr<HostStaging> make_host_staging(std::int64_t) {
  throw usage_error("--device cuda: this build has no CUDA backend; use --device cpu, or leave it out");
}

}  // namespace sherd
