#pragma once
// What cuda::Ops and the communicators of CUDA tensors need of a stream beyond sherd::Stream. Only sources of the CUDA
// backend include this file: it needs CUDA's headers.
#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <source_location>

#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// Throws unless rc is cudaSuccess: what failed, on which device and host, and what to do.
void cuda_check(cudaError_t rc, const char* call, std::source_location at = std::source_location::current());
#define CUDA_CHECK(call) ::sherd::cuda::cuda_check((call), #call)

/// What a kernel found wrong with its data; the host throws it at the next synchronize(). Lies in host memory that the
/// device sees.
struct Trouble {
  enum Kind : int { none = 0, token = 1, target = 2, position = 3 };
  int kind = none;
  long long found = 0, at = 0, limit = 0;
};

struct DeviceFacts {
  int index = 0;               // among those that CUDA_VISIBLE_DEVICES shows
  int compute_capability = 0;  // 90: 9.0
  int multiprocessors = 0;
  int shared_bytes_per_block = 0;  // the most that a block may ask for
};

cudaStream_t native(sherd::Stream& s);
const DeviceFacts& facts(sherd::Stream& s);
Trouble* trouble(sherd::Stream& s);

/// Called before the work of an op is enqueued, if ran() is called after it: a trace has the time between.
void will_run(sherd::Stream& s);

/// Called once per op, after its work has been enqueued: names it in the errors of work that fails later. With
/// --debug it waits for the work, so that the error comes here. `op` is a string literal.
void ran(sherd::Stream& s, const char* op);

/// Runs `work` on a thread of its own, when the stream comes to it, which waits for it. What it throws is rethrown by
/// the next synchronize() of any stream of the device, and later host work is skipped.
void enqueue_host(sherd::Stream& s, const char* op, std::function<void()> work);

/// Asked by host work that waits for others (collectives): true once the device has failed, or the host destroys its
/// streams on the way of an exception. The work then throws instead of keeping everybody from ending.
bool interrupted();

/// Page-locked host memory, which copies reach without a detour. Move-only; does_not_fit if the system refuses.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t bytes);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace sherd::cuda
