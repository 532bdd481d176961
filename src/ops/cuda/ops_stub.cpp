// Linked when the build has no CUDA.
#include "sherd/ops/cuda/ops.hpp"

#include "sherd/base/error.hpp"

namespace sherd::cuda {

std::unique_ptr<sherd::Ops> make_ops(Tensor) {
  throw usage_error("--device cuda: this build has no CUDA kernels; use --device cpu, or leave it out");
}

double measure_gemm_rate(sherd::Device&, DType) {
  throw usage_error("--device cuda: this build has no CUDA kernels; use --device cpu, or leave it out");
}

double measure_copy_rate(sherd::Device&) {
  throw usage_error("--device cuda: this build has no CUDA kernels; use --device cpu, or leave it out");
}

}  // namespace sherd::cuda
