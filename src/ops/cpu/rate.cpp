// The rate that this machine's matrix products reach: the denominator of MFU.
#include <chrono>
#include <vector>

#include "gemm.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {

double measure_gemm_rate(DType dtype) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t kSize = 1024;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  std::vector<float> memory(static_cast<std::size_t>(kWorkspaceBytes / 4 + 3 * kSize * kSize), 0.5f);
  const Tensor workspace = Tensor::make(memory.data(), DType::f32, {kWorkspaceBytes / 4});
  float* const operands = memory.data() + kWorkspaceBytes / 4;
  const auto matrix = [&](int i) { return Tensor::make(operands + i * kSize * kSize, dtype, {kSize, kSize}); };
  Gemm gemm(workspace);
  double best = 0;
  const auto start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < 0.15 || best == 0) {
    const auto before = Clock::now();
    gemm.multiply({matrix(0), matrix(1), matrix(2), false, true, 0}, "gemm rate");
    best = std::max(best, kFlops / std::chrono::duration<double>(Clock::now() - before).count());
  }
  return best;
}

}  // namespace sherd::cpu
