// Linked when the build found no cudnn-frontend.
#include "cudnn_attention.hpp"

namespace sherd::cuda {

std::string CudnnAttention::library(std::string& reason) {
  reason = "this build has no cudnn-frontend";
  return {};
}

std::unique_ptr<CudnnAttention> CudnnAttention::make(Tensor, Settings, std::string& reason) {
  library(reason);
  return nullptr;
}

}  // namespace sherd::cuda
