#pragma once
// RepeatedWork: work that is the same every time it is enqueued.
#include <functional>
#include <memory>

#include "sherd/device/device.hpp"

namespace sherd {

/// The first time `work` is run plainly, so that what libraries make at their first call gets made; the second time it
/// is recorded, if the stream can; from then on the recording is started, and `work` is not called.
class RepeatedWork {
 public:
  template <class Work>
  void run(Stream& stream, const Work& work) {
    if (times_ == 1) recording_ = stream.record(work);
    ++times_;
    recording_ ? stream.start(*recording_) : work();
  }
  void forget() {
    times_ = 0;
    recording_.reset();
  }

 private:
  std::int64_t times_ = 0;
  std::unique_ptr<Recording> recording_;
};

}  // namespace sherd
