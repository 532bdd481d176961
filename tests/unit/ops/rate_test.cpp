#include <gtest/gtest.h>

#include "sherd/device/cpu/device.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cpu {
namespace {

TEST(GemmRate, IsARate) {
  set_threads(2);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double rate = measure_gemm_rate(dtype);
    EXPECT_GT(rate, 1e9);
    EXPECT_LT(rate, 1e14);
  }
}

TEST(CopyRate, IsARate) {
  set_threads(2);
  const double rate = measure_copy_rate();
  EXPECT_GT(rate, 1e8);
  EXPECT_LT(rate, 1e13);
}

}  // namespace
}  // namespace sherd::cpu
