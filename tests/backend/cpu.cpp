#include "sherd/device/cpu/device.hpp"
#include "test_backend.hpp"

namespace sherd::test {

std::unique_ptr<Device> make_test_device(int threads) {
  cpu::set_threads(threads);  // the stream runs its work on this thread
  return std::make_unique<cpu::Device>(
      cpu::Options{.schedule = cpu::Schedule::in_order, .check_hazards = true, .threads = threads});
}

const Backend& test_backend() {
  return backend_of("cpu");
}

}  // namespace sherd::test
