// The rate of products, measured of a library that takes the time that the test says.
#include "../../../src/ops/cuda/gemm_rate.hpp"

#include <gtest/gtest.h>

#include "fake_cublas_lt.hpp"
#include "sherd/base/f8.hpp"
#include "sherd/device/cuda/device.hpp"

namespace sherd::cuda {
namespace {

using ::emulation::fake;

/// Five runs of four products of 32 x 32 x 32, each of a millisecond by the device's clock, and one microsecond that
/// every launch takes.
TEST(GemmRateOfADevice, IsThatOfTheLibrarysProducts) {
  const auto device = make_device(0, {});
  for (const DType dtype : {DType::f32, DType::bf16, DType::f8e4m3}) {
    fake() = {};
    fake().algorithms = {{.id = 1, .microseconds = 1000}};
    const double rate = gemm_rate(*device, dtype, 32);
    EXPECT_EQ(fake().ran.size(), 20u);
    EXPECT_EQ(fake().in_eight_bits, is_f8(dtype) ? 20u : 0u);
    EXPECT_NEAR(rate, 2.0 * 32 * 32 * 32 / 1e-3, 2e-3 * rate);
  }
}

}  // namespace
}  // namespace sherd::cuda
