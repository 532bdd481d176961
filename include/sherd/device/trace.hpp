#pragma once
// Trace: what the streams of a device did, and when (--profile). Off, it costs each operation a load and a branch.
//
// An operation that is enqueued while the trace is on becomes a slice once it is done: a CPU stream adds it at once, a
// CUDA stream when it is next waited for, from events around it. Work inside of a CUDA graph is seen by nobody, so
// steps that are traced run without one.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace sherd {

/// What Stream::enter was told.
struct TraceRange {
  const char* name = "";
  std::int64_t bytes = 0;  // that the work in it moves; 0: nobody said
};

struct TraceSlice {
  static constexpr std::size_t kRanges = 6;
  const char* op = "";                    // a string literal
  std::array<TraceRange, kRanges> range;  // entered when it was enqueued, the outermost first; deeper ones are left out
  std::size_t ranges = 0;
  int stream = 0;             // index of Trace::streams()
  std::int64_t step = 0;      // Trace::set_step
  std::int64_t sequence = 0;  // counts what was enqueued, on all streams together
  double begin = 0, end = 0;  // seconds since Trace::start()
};

struct TraceStream {
  std::string name;
  bool computes = false;  // its waits are for communication
};

class Trace {
 public:
  /// What a compute stream waits for, and what the other one does.
  static constexpr const char* kWaitsForCommunication = "waits for communication";
  static constexpr const char* kWaitsForComputation = "waits for computation";

  /// Forgets all slices and is on. At most `most` slices are kept; the others are counted.
  void start(std::size_t most);
  /// Operations enqueued from now on are not traced, until resume().
  void pause() { on_.store(false, std::memory_order_relaxed); }
  void resume() { on_.store(true, std::memory_order_relaxed); }
  bool on() const { return on_.load(std::memory_order_relaxed); }
  void set_step(std::int64_t step) { step_ = step; }

  /// The slices so far, and none is left. After a synchronize() of all streams.
  std::vector<TraceSlice> take();
  std::size_t opened() const { return opened_; }
  std::size_t dropped() const { return dropped_; }
  const std::vector<TraceStream>& streams() const { return streams_; }
  /// The wall clock at start(), in seconds since 1970.
  double wall_start() const { return wall_start_; }

  // --- for the streams ----------------------------------------------------------------------------------------------
  /// The index of a stream that has not asked before.
  int add_stream(std::string name, bool computes);
  /// A slice for an operation that is enqueued now, by the host's thread; null if it is not to be traced.
  std::unique_ptr<TraceSlice> open(const char* op, int stream, std::span<const TraceRange> ranges);
  void add(const TraceSlice& done);  // from any thread
  double now() const;                // seconds since start()
  /// Counts start(): what a stream knows of an earlier trace's clock means nothing any more.
  std::int64_t number() const { return number_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::atomic<bool> on_{false};
  std::size_t most_ = 0, opened_ = 0, dropped_ = 0;
  std::int64_t step_ = 0, number_ = 0;
  Clock::time_point start_{};
  double wall_start_ = 0;
  std::vector<TraceStream> streams_;
  std::mutex mutex_;  // of done_: streams' threads add
  std::vector<TraceSlice> done_;
};

}  // namespace sherd
