// Linked when the build has no CUDA.
#include "sherd/ops/cuda/ops.hpp"

#include "sherd/base/error.hpp"

namespace sherd::cuda {

std::unique_ptr<sherd::Ops> make_ops(Tensor) {
  throw usage_error(
      "--device cuda: this build has no CUDA kernels; 'make build' adds them where nvcc is, or use --device cpu");
}

double measure_gemm_rate(sherd::Device&, DType) {
  throw usage_error(
      "--device cuda: this build has no CUDA kernels; 'make build' adds them where nvcc is, or use --device cpu");
}

double measure_copy_rate(sherd::Device&) {
  throw usage_error(
      "--device cuda: this build has no CUDA kernels; 'make build' adds them where nvcc is, or use --device cpu");
}

}  // namespace sherd::cuda
