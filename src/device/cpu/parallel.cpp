// parallel_for on OpenMP, whose team oneDNN uses too: one pool of threads per stream, not two that fight for the cores.
#include <omp.h>

#include <exception>
#include <mutex>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {
namespace {
thread_local int thread_count = 1;
}  // namespace

int threads() {
  return thread_count;
}

void set_threads(int n) {
  SHERD_CHECK(n >= 1, "{} threads", n);
  thread_count = n;
  omp_set_num_threads(n);
  omp_set_dynamic(0);
}

void parallel_for(std::int64_t n, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& fn) {
  if (n <= 0) return;
  const std::int64_t parts = std::min<std::int64_t>(thread_count, div_up(n, std::max<std::int64_t>(grain, 1)));
  if (parts <= 1) return fn(0, n);
  std::exception_ptr error;
  std::mutex error_mutex;
#pragma omp parallel for num_threads(static_cast <int>(parts)) schedule(static, 1)
  for (std::int64_t i = 0; i < parts; ++i) {
    try {
      fn(n * i / parts, n * (i + 1) / parts);
    } catch (...) {  // an exception must not leave an OpenMP region
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace sherd::cpu
