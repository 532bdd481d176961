// Linked when the build found no cudnn-frontend.
#include "cudnn_attention.hpp"

namespace sherd::cuda {

std::unique_ptr<CudnnAttention> CudnnAttention::make(Tensor, Settings, std::string& reason) {
  reason = "this build has no cudnn-frontend";
  return nullptr;
}

}  // namespace sherd::cuda
