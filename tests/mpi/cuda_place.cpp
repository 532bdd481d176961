#include "place.hpp"
#include "session.hpp"
#include "sherd/comm/staged.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/backend.hpp"

namespace sherd::test {
namespace {

class CudaPlace final : public Place {
 public:
  Device& device() override { return *device_; }
  std::unique_ptr<Communicator> join(MpiComm comm, std::string axis, MpiOptions options) override {
    return staging_->over_mpi(std::move(comm), std::move(axis), std::move(options));
  }
  void write(Tensor to, const void* from) override {
    if (to.bytes() > 0) ops_->upload({static_cast<const std::byte*>(from), to.bytes()}, to, *stream_);
    stream_->synchronize();
  }
  void read(Tensor from, void* to) override {
    if (from.bytes() > 0) ops_->download(from, {static_cast<std::byte*>(to), from.bytes()}, *stream_);
    stream_->synchronize();
  }

 private:
  const Backend& backend_ = backend_of("cuda");
  std::unique_ptr<Device> device_ = cuda::make_device(session().rank());
  Arena workspace_ = device_->arena("workspace", static_cast<std::size_t>(backend_.workspace_bytes));
  std::unique_ptr<Ops> ops_ = backend_.make_ops(workspace_.take(DType::f32, {backend_.workspace_bytes / 4}));
  std::unique_ptr<Stream> stream_ = device_->stream("copies", StreamKind::compute);
  std::unique_ptr<HostStaging> staging_ = make_host_staging(64 << 10);
};

}  // namespace

std::unique_ptr<Place> make_place() {
  return std::make_unique<CudaPlace>();
}

}  // namespace sherd::test
