// The rates that this machine's matrix products and copies reach: what MFU and the speed of light are shares of.
#include <chrono>
#include <cstring>
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

double measure_copy_rate() {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t kBytes = 32 << 20;  // twice: more than the cache that a rank's cores share, as a rule
  std::vector<std::byte> from(kBytes), to(kBytes);
  double best = 0;
  const auto start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < 0.05 || best == 0) {
    const auto before = Clock::now();
    parallel_for(kBytes, 1 << 20, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data() + begin, from.data() + begin, static_cast<std::size_t>(end - begin));
    });
    best = std::max(best, 2.0 * kBytes / std::chrono::duration<double>(Clock::now() - before).count());
  }
  return best;
}

}  // namespace sherd::cpu
