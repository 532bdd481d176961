// A GPU, or the emulation of one. Without either every test of the program is skipped, by name.
#include <gtest/gtest.h>

#include "sherd/device/cuda/device.hpp"
#include "test_backend.hpp"

namespace sherd::test {
namespace {

class NeedsDevice final : public testing::Environment {
 public:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "no GPU here";
  }
};
[[maybe_unused]] const testing::Environment* const needs_device = testing::AddGlobalTestEnvironment(new NeedsDevice);

}  // namespace

/// Tests that want other numbers of threads see the same work again: what they show of a GPU is that its bits repeat.
std::unique_ptr<Device> make_test_device(int) {
  return cuda::make_device(0, {.debug = true});
}

const Backend& test_backend() {
  return backend_of("cuda");
}

}  // namespace sherd::test
