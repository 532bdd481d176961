#include "place.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd::test {
namespace {

class CpuPlace final : public Place {
 public:
  Device& device() override { return device_; }
  std::unique_ptr<Communicator> join(MpiComm comm, std::string axis, MpiOptions options) override {
    const Tensor slab = Tensor::make(slab_.data(), DType::f32, {static_cast<std::int64_t>(slab_.size())});
    return make_mpi_communicator(std::move(comm), std::move(axis), slab, std::move(options));
  }
  void write(Tensor to, const void* from) override {
    if (to.bytes() > 0) std::memcpy(to.data, from, to.bytes());
  }
  void read(Tensor from, void* to) override {
    if (from.bytes() > 0) std::memcpy(to, from.data, from.bytes());
  }

 private:
  cpu::Device device_;
  std::vector<float> slab_ = std::vector<float>(16384);  // 64 KiB: landings of 4 KiB
};

}  // namespace

std::unique_ptr<Place> make_place() {
  return std::make_unique<CpuPlace>();
}

}  // namespace sherd::test
