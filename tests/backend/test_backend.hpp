#pragma once
// The backend under test. cpu.cpp or cuda.cpp is linked, so that tests of ops and of whole steps do not know which.
#include <memory>

#include "sherd/device/device.hpp"
#include "sherd/ops/backend.hpp"

namespace sherd::test {

/// A device that reports what it can: the CPU's does each op at once and checks for missing waits, CUDA's waits after
/// every op. `threads`: of the CPU; other devices do the same work again.
std::unique_ptr<Device> make_test_device(int threads);
const Backend& test_backend();
inline bool tests_cuda() {
  return test_backend().name == "cuda";
}

}  // namespace sherd::test
