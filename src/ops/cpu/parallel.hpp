#pragma once
// Two shapes of parallel loop over parallel_for. Neither lets the number of threads reach a result: blocks are cut by
// size alone, and a task is done whole by one worker.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {

/// fn(begin, end) over [0, n) in blocks of `block`.
template <class Fn>
void for_blocks(std::int64_t n, std::int64_t block, const Fn& fn) {
  parallel_for(div_up(n, block), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t b = first; b < last; ++b) fn(b * block, std::min(n, (b + 1) * block));
  });
}

/// fn(task, worker) for every task of [0, tasks): a free worker takes the next one. worker < workers tells whose
/// scratch memory to use.
template <class Fn>
void for_tasks(std::int64_t tasks, std::int64_t workers, const Fn& fn) {
  std::atomic<std::int64_t> next{0};
  parallel_for(std::min(tasks, workers), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker)
      for (std::int64_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) fn(task, worker);
  });
}

}  // namespace sherd::cpu
