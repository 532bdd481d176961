// The device of a rank: which one, its memory, its streams.
#include <cstring>

#include "sherd/base/narrow.hpp"
#include "state.hpp"

namespace sherd::cuda {
namespace {

constexpr int kOldest = 80;  // compute capability of the kernels: mma on bf16, cp.async

/// What CUDA counts, or why it can't; `count` is 0 then.
cudaError_t count_devices(int& count) {
  count = 0;
  const cudaError_t rc = cudaGetDeviceCount(&count);
  if (rc == cudaSuccess) return rc;
  count = 0;
  static_cast<void>(cudaGetLastError());  // or the next call would report it again
  return rc;
}

void release_device_memory(Arena::Block& block) noexcept {
  if (const cudaError_t rc = cudaFree(block.data); rc != cudaSuccess)
    log::warn("cudaFree of {} bytes: {}", block.bytes, cudaGetErrorString(rc));
}

class CudaDevice final : public sherd::Device {
 public:
  CudaDevice(int index, Options options) : state_(std::make_shared<DeviceState>()) {
    // Waiting threads sleep: a rank often has one core, which MPI and the loader want, too.
    CUDA_CHECK(cudaInitDevice(index, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid));
    CUDA_CHECK(cudaSetDevice(index));
    cudaDeviceProp p{};
    CUDA_CHECK(cudaGetDeviceProperties(&p, index));
    state_->facts = {index, 10 * p.major + p.minor, p.multiProcessorCount, narrow<int>(p.sharedMemPerBlockOptin)};
    state_->name = p.name;
    state_->debug = options.debug;
    if (state_->facts.compute_capability < kOldest) {
      throw usage_error("{} has compute capability {}.{}, and the kernels need 8.0 (A100) or later; use --device cpu",
                        describe(), p.major, p.minor);
    }
    state_->trouble_memory = PinnedMemory(sizeof(Trouble));
    state_->host_trouble = new (state_->trouble_memory.data()) Trouble;
    void* seen = nullptr;
    CUDA_CHECK(cudaHostGetDevicePointer(&seen, state_->trouble_memory.data(), 0));
    state_->device_trouble = static_cast<Trouble*>(seen);
  }

  std::unique_ptr<sherd::Stream> stream(std::string name, StreamKind kind) override {
    return std::make_unique<CudaStream>(state_, std::move(name), kind);
  }
  std::unique_ptr<sherd::Event> event(std::string) override { return std::make_unique<CudaEvent>(); }

  Arena arena(std::string name, std::size_t bytes) override {
    const Memory memory = memory_of(*this);
    if (std::cmp_greater(bytes, memory.free)) {
      const auto gib = [](auto n) { return static_cast<double>(n) / (1 << 30); };
      throw does_not_fit(
          "'{}' needs {:.2f} GiB and {} has {:.2f} of its {:.2f} GiB free; use more ranks on more devices, a smaller "
          "batch or sequence, or more activation checkpointing",
          name, gib(bytes), describe(), gib(memory.free), gib(memory.total));
    }
    const std::size_t length = std::max<std::size_t>(bytes, 1);
    void* data = nullptr;
    CUDA_CHECK(cudaMalloc(&data, length));
    Arena arena(std::move(name), Arena::Block{static_cast<std::byte*>(data), length, &release_device_memory});
    CudaStream zeroing(state_, "zeroing", StreamKind::compute);
    CUDA_CHECK(cudaMemsetAsync(data, 0, length, zeroing.native()));
    zeroing.synchronize();
    return arena;
  }

  HostMemory host_memory(std::size_t bytes) override {
    const auto pinned = std::make_shared<PinnedMemory>(std::max<std::size_t>(bytes, 1));
    std::memset(pinned->data(), 0, pinned->bytes());
    return {std::shared_ptr<std::byte>(pinned, pinned->data()), bytes};
  }

  std::string describe() const override { return fmt::format("cuda:{} {}", state_->facts.index, state_->name); }
  Trace& trace() override { return state_->trace; }

 private:
  std::shared_ptr<DeviceState> state_;
};

std::string version_text(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

}  // namespace

PinnedMemory::PinnedMemory(std::size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  if (cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw does_not_fit(
        "the system refuses {} bytes of page-locked host memory; give the job more memory (--mem), or raise "
        "its limit on locked memory (ulimit -l)",
        bytes);
  }
  data_ = static_cast<std::byte*>(data);
}
PinnedMemory::~PinnedMemory() {
  if (data_ == nullptr) return;
  if (const cudaError_t rc = cudaFreeHost(data_); rc != cudaSuccess)
    log::warn("cudaFreeHost of {} bytes: {}", bytes_, cudaGetErrorString(rc));
}
PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

int device_count() {
  int count = 0, driver = 0;
  const cudaError_t rc = count_devices(count);
  const bool broken = rc != cudaSuccess && rc != cudaErrorNoDevice;
  if (broken && cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0)
    log::warn("this node has a driver for CUDA {} and no GPU that can be used: {}", version_text(driver),
              cudaGetErrorString(rc));
  return count;
}

std::unique_ptr<sherd::Device> make_device(int local_rank, Options options) {
  SHERD_CHECK(local_rank >= 0, "local rank {}", local_rank);
  int count = 0;
  const cudaError_t rc = count_devices(count);
  if (count == 0) {
    throw usage_error(
        "--device cuda: no GPU is here ({}); ask for one (sbatch --gpus-per-node 1), check CUDA_VISIBLE_DEVICES and "
        "nvidia-smi, or use --device cpu",
        rc == cudaSuccess ? "CUDA counts 0 devices" : cudaGetErrorString(rc));
  }
  return std::make_unique<CudaDevice>(local_rank % count, options);
}

Memory memory_of(const sherd::Device&) {
  std::size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {narrow<std::int64_t>(free), narrow<std::int64_t>(total)};
}

bool in_build() {
  return true;
}

std::string version() {
  int runtime = 0, driver = 0, count = 0;
  CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return version_text(runtime) + ", no driver";
  if (count_devices(count) != cudaSuccess || count == 0)
    return fmt::format("{}, driver {}, no device", version_text(runtime), version_text(driver));
  cudaDeviceProp p{};
  CUDA_CHECK(cudaGetDeviceProperties(&p, 0));
  return fmt::format("{}, driver {}, {} device{}: {}", version_text(runtime), version_text(driver), count,
                     count == 1 ? "" : "s", p.name);
}

}  // namespace sherd::cuda
