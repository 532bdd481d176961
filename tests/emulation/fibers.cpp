#include "fibers.hpp"

#include <sys/mman.h>
#include <ucontext.h>
#include <csetjmp>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "ptx.cuh"

namespace sherd::cuda {
thread_local unsigned char shared_memory[emulation::kSharedBytes] __attribute__((aligned(128)));
}

thread_local uint3 threadIdx, blockIdx;
thread_local dim3 blockDim, gridDim;

namespace emulation {
namespace {

constexpr std::size_t kStack = 256 << 10;  // mapped, touched only as far as a kernel goes

// The compiler's own jumps save three registers, and are most of a switch's time less; sanitizers know the library's.
#ifndef __has_feature  // clang's word; gcc has macros
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
using Place = jmp_buf;
#define EMULATION_MARK(place) _setjmp(place)
#define EMULATION_JUMP(place) _longjmp(place, 1)
#else
using Place = void* [5];
#define EMULATION_MARK(place) __builtin_setjmp(place)
#define EMULATION_JUMP(place) __builtin_longjmp(place, 1)
#endif

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

struct Fiber {
  explicit Fiber(std::size_t i) : index(i) {
    stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::runtime_error("emulation: no memory for a fiber's stack");
  }
  ~Fiber() { munmap(stack, kStack); }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  std::size_t index;
  void* stack;
  ucontext_t start{};
  Place at{};
  bool started = false, done = true;
  std::uint64_t block_waits = 0, warp_waits = 0;  // barriers that this fiber has come to
  std::uint64_t exchanges = 0;
  std::vector<Copy> open;                 // copies since the last group was closed
  std::vector<std::vector<Copy>> groups;  // closed groups, not yet waited for
};

struct Warp {
  std::size_t lanes = 0;
  std::uint64_t arrived = 0;  // lanes times barriers
  std::array<std::array<unsigned char, 32 * kSlot>, 2> slots{};
};

/// The machine of one host thread. Fibers are kept from launch to launch.
struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::size_t threads = 0;
  std::uint64_t block_arrived = 0;
  Fiber* running = nullptr;
  Place scheduler{};
  const std::function<void()>* thread = nullptr;
  std::exception_ptr error;

  bool may_go(const Fiber& f) const {
    return block_arrived >= f.block_waits * threads &&
           warps[f.index / 32].arrived >= f.warp_waits * warps[f.index / 32].lanes;
  }
};
thread_local Machine machine;

void run_copies(const std::vector<Copy>& copies) {
  for (const Copy& c : copies) {
    if (c.valid)
      std::memcpy(c.to, c.from, 16);
    else
      std::memset(c.to, 0, 16);
  }
}

/// A fiber's whole life: it does the thread of one block after another.
void fiber_main() {
  for (;;) {
    Fiber& f = *machine.running;
    try {
      (*machine.thread)();
      if (!f.open.empty() || !f.groups.empty()) throw std::runtime_error("a thread ended with copies under way");
    } catch (...) {
      if (!machine.error) machine.error = std::current_exception();
    }
    f.done = true;
    if (EMULATION_MARK(f.at) == 0) EMULATION_JUMP(machine.scheduler);
  }
}

void resume(Fiber& f) {
  machine.running = &f;
  threadIdx.x = static_cast<unsigned>(f.index);
  if (EMULATION_MARK(machine.scheduler) != 0) return;
  if (f.started) EMULATION_JUMP(f.at);
  f.started = true;
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack;
  f.start.uc_stack.ss_size = kStack;
  f.start.uc_link = nullptr;
  makecontext(&f.start, &fiber_main, 0);
  setcontext(&f.start);
}

void yield_until_released() {
  Fiber& f = *machine.running;
  if (machine.may_go(f)) return;
  if (EMULATION_MARK(f.at) == 0) EMULATION_JUMP(machine.scheduler);
}

void begin_block(std::size_t threads, std::size_t shared_bytes) {
  std::memset(sherd::cuda::shared_memory, 0xff, shared_bytes);  // NaN: nothing may count on zeros
  machine.threads = threads;
  machine.block_arrived = 0;
  machine.warps.resize((threads + 31) / 32);
  for (std::size_t w = 0; w < machine.warps.size(); ++w) {
    machine.warps[w].lanes = std::min<std::size_t>(32, threads - w * 32);
    machine.warps[w].arrived = 0;
  }
  while (machine.fibers.size() < threads) machine.fibers.push_back(std::make_unique<Fiber>(machine.fibers.size()));
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& f = *machine.fibers[i];
    f.done = false;
    f.block_waits = f.warp_waits = f.exchanges = 0;
    f.open.clear();
    f.groups.clear();
  }
}

/// Fibers take turns in `order`, by runs of `together` of them: those of a run until none can go on, then the next run.
/// With 32 a warp goes as far as its barriers let it while other warps stand still.
void run_block(const std::vector<std::size_t>& order, std::size_t together) {
  std::size_t left = order.size();
  const auto turn = [&](std::size_t i) {
    Fiber& f = *machine.fibers[i];
    if (f.done || !machine.may_go(f)) return false;
    resume(f);
    left -= f.done ? 1 : 0;
    return true;
  };
  while (left > 0) {
    bool moved = false;
    for (std::size_t begin = 0; begin < order.size(); begin += together) {
      const std::size_t end = std::min(begin + together, order.size());
      for (bool again = true; again;) {
        again = false;
        for (std::size_t i = begin; i < end; ++i) again = turn(order[i]) || again;
        moved = moved || again;
      }
    }
    if (!moved) {
      machine.fibers.clear();  // they are in the middle of something
      throw std::runtime_error("a barrier that " + std::to_string(left) + " threads wait at and others never reach");
    }
  }
}

}  // namespace

int lane() {
  return static_cast<int>(machine.running->index % 32);
}

void block_barrier() {
  ++machine.running->block_waits;
  ++machine.block_arrived;
  yield_until_released();
}

void warp_barrier() {
  ++machine.running->warp_waits;
  ++machine.warps[machine.running->index / 32].arrived;
  yield_until_released();
}

const unsigned char* exchange(const void* bytes, std::size_t count) {
  Fiber& f = *machine.running;
  auto& slots =
      machine.warps[f.index / 32].slots[f.exchanges++ % 2];  // two: the next exchange may begin before all have read
  std::memcpy(slots.data() + f.index % 32 * kSlot, bytes, count);
  warp_barrier();
  return slots.data();
}

void copy_later(void* to, const void* from, bool valid) {
  machine.running->open.push_back({to, from, valid});
}
void close_group() {
  Fiber& f = *machine.running;
  f.groups.push_back(std::exchange(f.open, {}));
}
void wait_groups(int pending) {
  Fiber& f = *machine.running;
  while (f.groups.size() > static_cast<std::size_t>(pending)) {
    run_copies(f.groups.front());
    f.groups.erase(f.groups.begin());
  }
}

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, std::uint64_t number,
              const std::function<void()>& thread) {
  if (block.y != 1 || block.z != 1 || block.x == 0 || block.x > 1024 || shared_bytes > kSharedBytes)
    throw std::runtime_error("emulation: blocks of up to 1024 threads along x, and 227 KiB of shared memory");
  std::vector<std::size_t> order(block.x);
  std::iota(order.begin(), order.end(), 0);
  if (number % 5 == 1 || number % 5 == 4) std::reverse(order.begin(), order.end());
  if (number % 5 == 2) std::shuffle(order.begin(), order.end(), std::mt19937_64(number));
  const std::size_t together = number % 5 >= 3 ? 32 : order.size();
  machine.thread = &thread;
  machine.error = nullptr;
  blockDim = block;
  gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx.x = x;
        blockIdx.y = y;
        blockIdx.z = z;
        begin_block(block.x, shared_bytes);
        run_block(order, together);
        if (machine.error) std::rethrow_exception(machine.error);
      }
}

}  // namespace emulation
