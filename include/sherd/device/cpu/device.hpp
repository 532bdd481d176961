#pragma once
// The CPU device: a stream is a queue. In production each queue has a thread; in tests the queues are drained by the
// host under several legal orders, and each item's declared reads and writes are checked for a missing wait.
#include <functional>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sherd/device/device.hpp"

namespace sherd::cpu {

enum class Schedule {
  threaded,            // production: a thread per stream
  in_order,            // each item at once, as it is enqueued
  first_stream_first,  // at synchronize(): drain the oldest stream as far as events allow, then the next
  last_stream_first,   // the other way round
  alternating,         // one item of each stream in turn
};

/// What an item of work touches: declared by every op, checked by the happens-before checker.
struct Access {
  struct Range {
    const std::byte* begin;
    const std::byte* end;
    bool write;
  };
  std::vector<Range> ranges;
  Access& read(Tensor t) { return add(t, false); }
  Access& write(Tensor t) { return add(t, true); }

 private:
  Access& add(Tensor t, bool write) {  // null and empty tensors touch nothing
    if (t && t.numel() > 0) ranges.push_back({t.data, t.data + t.extent(), write});
    return *this;
  }
};
inline Access access(std::initializer_list<Tensor> reads, std::initializer_list<Tensor> writes) {
  Access a;
  a.ranges.reserve(reads.size() + writes.size());
  for (Tensor t : reads) a.read(t);
  for (Tensor t : writes) a.write(t);
  return a;
}

using Work = std::function<void()>;

struct Options {
  Schedule schedule = Schedule::threaded;
  bool check_hazards = false;       // report two unordered accesses of one range as an Error (tests)
  bool plan_only = false;           // drop all work: the plan walks the step without data
  int threads = 1;                  // OpenMP threads of a compute stream
  bool (*interrupted)() = nullptr;  // asked by interrupted(), too: that of a device whose stream waits for this one
};

/// Where a wait() stands in the source, for the test that deletes each in turn.
using WaitSite = std::pair<std::string, unsigned>;  // file, line

class Device final : public sherd::Device {
 public:
  explicit Device(Options options = {});
  ~Device() override;
  std::unique_ptr<sherd::Stream> stream(std::string name, StreamKind kind) override;
  std::unique_ptr<sherd::Event> event(std::string name) override;
  Arena arena(std::string name, std::size_t bytes) override;
  HostMemory host_memory(std::size_t bytes) override;
  std::string describe() const override;
  Trace& trace() override;
  const Options& options() const;

  /// Declares what the host itself reads or writes now (staging buffers); checked like an item of work.
  void host_access(const char* label, const Access& access);
  /// Tests: all wait sites met so far; and waits at `site` are left out from now on.
  std::set<WaitSite> wait_sites() const;
  void ignore_waits_at(WaitSite site);

  struct State;  // shared by the device's streams and events (src/device/cpu/stream.hpp)

 private:
  std::shared_ptr<State> state_;
};

/// Enqueues `work` on a stream of a cpu::Device. `label` is a string literal: it names the op in errors and traces.
void enqueue(sherd::Stream& stream, const char* label, const Access& access, Work work);

/// Asked by work that waits for others (collectives): true once another stream of its device has failed, or the host
/// destroys the streams on the way of an exception. The work then throws instead of keeping everybody from ending.
bool interrupted();

/// Runs fn(begin, end) over [0, n) on the threads of the calling stream, in pieces of at least `grain`. The split does
/// not influence results: every element is computed by one call, sums are not split (so threads do not change bits).
void parallel_for(std::int64_t n, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& fn);
/// Threads that parallel_for uses on this thread; set once per compute stream.
int threads();
void set_threads(int n);

}  // namespace sherd::cpu
