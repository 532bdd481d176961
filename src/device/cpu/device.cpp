#include "sherd/device/cpu/device.hpp"

#include <sys/mman.h>

#include <cstring>
#include <fstream>

#include "stream.hpp"

namespace sherd::cpu {
namespace {

/// Bytes that Linux would give us now without swapping, or -1 where it does not say.
std::int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  for (std::int64_t value = 0; file >> key >> value; file.ignore(64, '\n')) {
    if (key == "MemAvailable:") return value * 1024;
  }
  return -1;
}

void unmap(Arena::Block& block) noexcept {
  munmap(block.data, block.bytes);
}

}  // namespace

Device::Device(Options options) : state_(std::make_shared<State>()) {
  state_->options = options;
  if (options.check_hazards) state_->hazards = std::make_unique<Hazards>();
  if (options.schedule != Schedule::threaded) set_threads(options.threads);
}
Device::~Device() = default;

std::unique_ptr<sherd::Stream> Device::stream(std::string name, StreamKind kind) {
  const int threads = kind == StreamKind::compute ? state_->options.threads : 1;
  return std::make_unique<CpuStream>(state_, std::move(name), kind, threads);
}

std::unique_ptr<sherd::Event> Device::event(std::string name) {
  return std::make_unique<CpuEvent>(std::move(name));
}

Arena Device::arena(std::string name, std::size_t bytes) {
  const std::int64_t available = available_memory();
  if (available >= 0 && bytes > static_cast<std::size_t>(available)) {
    throw does_not_fit(
        "'{}' needs {:.2f} GiB and this machine has {:.2f} GiB free; use more ranks on more nodes, a smaller "
        "batch or sequence, or more activation checkpointing",
        name, static_cast<double>(bytes) / (1 << 30), static_cast<double>(available) / (1 << 30));
  }
  const std::size_t length = std::max<std::size_t>(bytes, 1);
  void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    throw does_not_fit("'{}': the system refuses {} bytes ({})", name, bytes, std::strerror(errno));
  madvise(data, length, MADV_HUGEPAGE);  // fewer TLB misses; a hint, so its failure is none
  std::memset(data, 0, length);
  return {std::move(name), Arena::Block{static_cast<std::byte*>(data), length, &unmap}};
}

HostMemory Device::host_memory(std::size_t bytes) {
  return {std::shared_ptr<std::byte>(new std::byte[bytes](), std::default_delete<std::byte[]>()), bytes};
}

const Options& Device::options() const {
  return state_->options;
}

std::string Device::describe() const {
  return "cpu";
}

Trace& Device::trace() {
  return state_->trace;
}

void Device::host_access(const char* label, const Access& access) {
  if (state_->hazards) state_->hazards->item(0, label, access);
}

std::set<WaitSite> Device::wait_sites() const {
  return state_->sites;
}

void Device::ignore_waits_at(WaitSite site) {
  state_->ignored.insert(std::move(site));
}

}  // namespace sherd::cpu
