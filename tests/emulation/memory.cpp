// The memory of the emulated device: behind a protection key, so that only the streams' threads may touch it.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "fibers.hpp"

namespace {

std::mutex memory_mutex;
std::map<void*, std::size_t> allocations;
std::size_t allocated = 0;
/// What was freed last, for the next that wants as much: pages that are there already, with what was in them, as on a
/// device. Nobody may touch them in between.
void* spare = nullptr;
std::size_t spare_bytes = 0;

bool give(void* data, std::size_t bytes) {
  constexpr int kAll = PROT_READ | PROT_WRITE;
  const int key = emulation::device_key();
  return (key < 0 ? mprotect(data, bytes, kAll) : pkey_mprotect(data, bytes, kAll, key)) == 0;
}

void* take_spare(std::size_t bytes) {
  return spare_bytes == bytes ? std::exchange(spare, nullptr) : nullptr;
}

}  // namespace

long emulation::environment(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atol(text) : otherwise;
}

std::size_t emulation::device_bytes() {
  return static_cast<std::size_t>(environment("EMULATED_CUDA_BYTES", 2l << 30));
}

/// Device memory is behind this key; only streams' threads may touch it. -1 where the processor has none.
int emulation::device_key() {
  static const int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  return key;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(memory_mutex);
  *total = emulation::device_bytes();
  const bool works =
      emulation::kernels_launched() > 0;  // EMULATED_CUDA_LIBRARY_BYTES: what libraries take once they run
  *free = emulation::device_bytes() - allocated -
          (works ? static_cast<std::size_t>(emulation::environment("EMULATED_CUDA_LIBRARY_BYTES", 0)) : 0);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** out, std::size_t bytes) {
  const std::lock_guard lock(memory_mutex);
  const std::size_t length = (bytes + 4095) / 4096 * 4096;
  if (allocated + length > emulation::device_bytes()) return cudaErrorMemoryAllocation;
  void* data = take_spare(length);
  if (data == nullptr)
    data = mmap(nullptr, std::max<std::size_t>(length, 4096), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED || !give(data, std::max<std::size_t>(length, 4096))) return cudaErrorMemoryAllocation;
  allocations[data] = length;
  allocated += length;
  *out = data;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  const std::lock_guard lock(memory_mutex);
  const auto found = allocations.find(data);
  if (found == allocations.end()) return data == nullptr ? cudaSuccess : cudaErrorInvalidValue;
  if (spare != nullptr) munmap(spare, spare_bytes);
  spare = data;
  spare_bytes = found->second;
  mprotect(spare, spare_bytes, PROT_NONE);
  allocated -= found->second;
  allocations.erase(found);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** out, std::size_t bytes, unsigned) {
  *out = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
