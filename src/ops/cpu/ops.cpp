#include "ops.hpp"

namespace sherd::cpu {

OpsImpl::OpsImpl(Tensor workspace) : workspace_(workspace), gemm_(workspace) {
  SHERD_CHECK(workspace && workspace.dtype == DType::f32 && workspace.contiguous() &&
                  workspace.bytes() >= static_cast<std::size_t>(kWorkspaceBytes),
              "the workspace is {}, expected {} bytes of f32", workspace.describe(), kWorkspaceBytes);
}

std::unique_ptr<sherd::Ops> make_ops(Tensor workspace) {
  return std::make_unique<OpsImpl>(workspace);
}

}  // namespace sherd::cpu
