#pragma once
// The CUDA device's Ops. A build without CUDA links ops_stub.cpp, which says so.
#include <memory>

#include "sherd/base/tensor.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cuda {

constexpr std::int64_t kWorkspaceBytes = 64 << 20;
/// For cuBLASLt's code, kernels' local memory and the like: a guess, as long as no GPU has told (docs/gpu/README.md).
constexpr std::int64_t kRuntimeBytes = 256 << 20;

/// Every function of Ops on streams of a cuda::Device. `workspace`: device memory of kWorkspaceBytes (f32, flat). Usage
/// error in a build without CUDA.
std::unique_ptr<sherd::Ops> make_ops(Tensor workspace);

/// Of the slab for cuDNN's attention (attention_slab.cpp), in every build, since plans are made where no GPU is.
std::int64_t attention_slab_bytes(std::int64_t batch, std::int64_t length, Heads heads);

/// The rate that this device's products reach now, in FLOP/s: the MFU denominator. Takes device memory while it
/// measures. Usage error in a build without CUDA.
double measure_gemm_rate(sherd::Device& device, DType dtype);
/// The rate at which the device's memory is copied now, in bytes/s, each byte read and each written counted. As above.
double measure_copy_rate(sherd::Device& device);

}  // namespace sherd::cuda
