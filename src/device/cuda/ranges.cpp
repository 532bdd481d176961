// Ranges for profilers, through NVTX: a header that does nothing until a profiler is there.
#include <nvtx3/nvToolsExt.h>

#include "state.hpp"

namespace sherd::cuda {

void push_range(const char* what) {
  nvtxRangePushA(what);
}
void pop_range() {
  nvtxRangePop();
}

}  // namespace sherd::cuda
