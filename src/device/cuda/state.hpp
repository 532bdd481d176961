#pragma once
// What the streams of a CUDA device share, and the handles of CUDA's own objects.
#include <array>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sherd/base/log.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {

/// An owned handle of CUDA's: kDestroy is called once, and the log has what it could not do.
template <class Handle, cudaError_t (*kDestroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  ~Owned() {
    if (handle_ == nullptr) return;
    const bool well = cudaPeekAtLastError() == cudaSuccess;  // or every handle would repeat what has been said
    if (const cudaError_t rc = kDestroy(handle_); rc != cudaSuccess && well)
      log::warn("CUDA: {}", cudaGetErrorString(rc));
  }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using OwnedStream = Owned<cudaStream_t, &cudaStreamDestroy>;
using OwnedEvent = Owned<cudaEvent_t, &cudaEventDestroy>;
OwnedEvent make_event(unsigned flags);

/// The thread that does a device's host work. CUDA's own callback threads only wait for it: an MPI library that knows
/// CUDA may call it, which callbacks must not, and all of MPI is entered by one thread.
class HostThread {
 public:
  /// `device`: of the thread, for what MPI may ask of CUDA.
  explicit HostThread(int device) : device_(device), thread_([this] { main(); }) {}
  ~HostThread();
  HostThread(const HostThread&) = delete;
  HostThread& operator=(const HostThread&) = delete;
  /// Returns when `work` is done. Works come one after the other.
  void run(const std::function<void()>& work);

 private:
  void main();
  int device_;
  std::mutex turn_;  // of the callers
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* work_ = nullptr;
  bool stopping_ = false;
  std::thread thread_;
};

struct DeviceState {
  DeviceFacts facts;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  bool debug = false;
  PinnedMemory trouble_memory;
  Trouble* host_trouble = nullptr;
  Trouble* device_trouble = nullptr;

  /// What has been enqueued last, for errors that come late.
  static constexpr std::size_t kLastOps = 8;
  std::array<std::string, kLastOps> last_ops;
  std::size_t ops = 0;
  std::vector<TraceRange> ranges;  // entered, not yet left

  Trace trace;
  /// The trace's clock: this event passed at that many seconds of it, in the trace of that number.
  OwnedEvent clock;
  double clock_seconds = 0;
  std::int64_t clock_of = 0;
  std::vector<OwnedEvent> idle_events;  // with times, to be used again

  /// The first error of host work: what comes after it is skipped.
  std::atomic<bool> failed{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  std::unique_ptr<HostThread> host_thread;  // made by the first host work
  std::atomic<int> callbacks{0};            // of CUDA, that are in run_host_work now

  void note(const char* op);
  std::string last_enqueued() const;
  void fail(std::exception_ptr e);
  /// Throws the first error of host work, or what a kernel found wrong with its data.
  void rethrow();
};

class CudaStream;

class CudaEvent final : public sherd::Event {
 public:
  CudaEvent() : event(make_event(cudaEventDisableTiming | cudaEventBlockingSync)) {}
  OwnedEvent event;
  const CudaStream* recorder = nullptr;  // the stream that recorded it last
  std::size_t traced_before = 0;         // operations that this stream had traced until then
};

class CudaRecording final : public sherd::Recording {
 public:
  explicit CudaRecording(cudaGraphExec_t ready) : graph(ready) {}
  Owned<cudaGraphExec_t, &cudaGraphExecDestroy> graph;
};

class CudaStream final : public sherd::Stream {
 public:
  CudaStream(std::shared_ptr<DeviceState> state, std::string name, StreamKind kind);
  ~CudaStream() override;
  void record(sherd::Event& event) override;
  void wait(const sherd::Event& event, std::source_location at) override;
  void synchronize() override;
  void synchronize(const sherd::Event& event) override;
  std::unique_ptr<sherd::Recording> record(const std::function<void()>& work) override;
  void start(const sherd::Recording& recording) override;
  void enter(const char* what, std::int64_t bytes) override;
  void leave() override;
  void mark(const char* what) override;
  const std::string& name() const override { return name_; }
  double seconds_waited() const override { return seconds_waited_; }

  cudaStream_t native() const { return stream_.get(); }
  DeviceState& state() const { return *state_; }
  const std::shared_ptr<DeviceState>& shared_state() const { return state_; }

  /// Around one operation, while the trace is on (tracing.cpp).
  void begin_slice();
  void end_slice(const char* op);

 private:
  struct TracedOp {
    std::unique_ptr<TraceSlice> slice;
    OwnedEvent begin, end;
    double asked, given;  // host_seconds() when `begin` had been recorded, and when the work had been enqueued
  };

  void check_work(cudaError_t rc) const;
  void wait_until(cudaEvent_t until);
  void add_waits();
  void take_slices(std::size_t count);
  void time_slice(TracedOp& op);
  OwnedEvent recorded_event();

  std::shared_ptr<DeviceState> state_;
  std::string name_;
  /// Compute streams' waits are what a step loses to communication, and they are synchronized with once a step.
  bool times_waits_;
  OwnedStream stream_;
  static constexpr std::size_t kTimedWaits = 16384;  // between two synchronize(); more are not timed
  /// Events around each wait that is not yet counted: their distance is the time waited.
  std::vector<std::pair<OwnedEvent, OwnedEvent>> around_waits_;
  std::size_t waits_ = 0;
  bool recording_ = false;
  double seconds_waited_ = 0;

  std::vector<TracedOp> traced_;  // not yet taken
  std::size_t taken_ = 0;         // before these
  OwnedEvent begun_;              // begin_slice() was called
  double asked_ = 0;              // then
  OwnedEvent clock_;              // as DeviceState's, of the trace clock_of_, once that one is long ago
  double clock_seconds_ = 0;
  std::int64_t clock_of_ = 0;
  int trace_index_ = -1;  // none yet
};

CudaStream& stream_of(sherd::Stream& s);

/// The host's clock, for what lies between two of its calls (host_clock.cpp).
double host_seconds();

/// Ranges of NVTX, which profilers show (ranges.cpp).
void push_range(const char* what);
void pop_range();

}  // namespace sherd::cuda
