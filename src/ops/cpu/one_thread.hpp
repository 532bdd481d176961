#pragma once
#include <omp.h>

namespace sherd::cpu {

/// oneDNN splits a product over the threads that OpenMP would start; while this lives, a call stays on its own thread.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace sherd::cpu
