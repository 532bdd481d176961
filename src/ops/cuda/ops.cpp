#include "ops.hpp"

#include "sherd/ops/cuda/ops.hpp"

namespace sherd::cuda {

OpsImpl::OpsImpl(Tensor workspace)
    : scratch_(workspace.flat(workspace.numel() / 2, workspace.numel() / 2)),
      products_workspace_(workspace.flat(0, workspace.numel() / 2)),
      gemm_(products_workspace_) {
  SHERD_CHECK(workspace.dtype == DType::f32 && workspace.numel() == kWorkspaceBytes / 4, "workspace of {}",
              workspace.describe());
}
OpsImpl::~OpsImpl() = default;

std::unique_ptr<sherd::Ops> make_ops(Tensor workspace) {
  return std::make_unique<OpsImpl>(workspace);
}

}  // namespace sherd::cuda
