#pragma once
// The threads of a block as fibers on one thread of the host.
#include <functional>
#include <random>

#include "cuda_runtime.h"

namespace emulation {

/// Runs `thread` for every thread of every block of the grid on the calling thread. `number`: of the launch, which
/// chooses the order in which threads take their turns. Throws std::runtime_error for a barrier that not all threads
/// reach.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, std::uint64_t number,
              const std::function<void()>& thread);

/// What every kernel takes: 1, or EMULATED_CUDA_KERNEL_MICROSECONDS, for searches repeat what is short many times.
double kernel_microseconds();
/// Adds to the clock of the stream that the calling thread is: the device's time is counted, not measured.
void take_time(double microseconds);
/// Adds to the clock of the host: what it enqueues from now on starts no earlier.
void host_takes(double microseconds);
double host_microseconds();

/// An environment variable's number.
long environment(const char* name, long otherwise);
/// Device memory is behind this key; only streams' threads may touch it. -1 where the processor has none.
int device_key();
std::size_t device_bytes();
std::uint64_t kernels_launched();

constexpr std::size_t kSharedBytes = 227 << 10;  // the most that a block may have: sm_90's

}  // namespace emulation
