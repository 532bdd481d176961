#pragma once
// The CUDA device's Ops. A build without CUDA links ops_stub.cpp, which says so.
#include <memory>

#include "sherd/base/tensor.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cuda {

/// Every function of Ops on streams of a cuda::Device. `workspace`: device memory of cpu::kWorkspaceBytes (f32, flat).
/// Usage error in a build without CUDA.
std::unique_ptr<sherd::Ops> make_ops(Tensor workspace);

}  // namespace sherd::cuda
