#pragma once
// How fast products are: what MFU and the speed of light are shares of.
#include "sherd/base/dtype.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// FLOP/s of products of square matrices, side x side, of this dtype; of f8e4m3 as Ops::linear_f8 computes them, into
/// bf16. Takes device memory while it measures: three matrices, and 32 MiB.
double gemm_rate(sherd::Device& device, DType dtype, std::int64_t side);

}  // namespace sherd::cuda
