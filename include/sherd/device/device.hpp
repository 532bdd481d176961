#pragma once
// Device, Stream and Event: queues of work and the only synchronisation there is (law 4). The semantics are CUDA's, so
// that a CPU stream finds on the CPU what would go wrong on a GPU.
#include <cstddef>
#include <functional>
#include <memory>
#include <source_location>
#include <string>

#include "sherd/device/arena.hpp"
#include "sherd/device/trace.hpp"

namespace sherd {

/// A point in a stream. Like cudaEvent_t: a wait on an event that was never recorded does not block, and a wait means
/// the latest record() before it.
class Event {
 public:
  virtual ~Event() = default;
};

/// Work of a stream that was recorded once and is started as a whole: a CUDA graph. It goes before its stream does.
class Recording {
 public:
  virtual ~Recording() = default;
};

/// A queue of work, run in order; different streams are ordered by events alone. Enqueued from one host thread.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void record(Event& event) = 0;
  /// Work enqueued on this stream after the call starts only when `event` has passed. Every call has a comment that
  /// names what it protects; tests delete each call in turn, found by its source location.
  virtual void wait(const Event& event, std::source_location at = std::source_location::current()) = 0;
  /// Blocks the host until everything enqueued so far is done; rethrows the first error of any stream of the device.
  virtual void synchronize() = 0;
  /// Blocks the host until `event`, recorded on this stream, has passed; then as synchronize().
  virtual void synchronize(const Event& event) = 0;

  /// What `work` enqueues on this stream, not run but recorded, to be started by start(); null where a device has no
  /// such thing. Memory and arguments stay those of now. `work` must use no other stream and not wait for this one.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work) {
    static_cast<void>(work);
    return nullptr;
  }
  virtual void start(const Recording& recording) { static_cast<void>(recording); }

  /// Names what is enqueued until leave(), inside of what was named before: "backward", "model.layers.3". Profiles and
  /// the errors of devices that run behind their host show it. `what` outlives the stream. The ranges of a device's
  /// streams are one stack: work is named by all that its host is in. `bytes`: that the work moves, if it is known.
  virtual void enter(const char* what, std::int64_t bytes = 0) = 0;
  virtual void leave() = 0;
  /// Traces a slice without length when the stream comes here, if the trace is on.
  virtual void mark(const char* what) = 0;
  virtual const std::string& name() const = 0;
  /// Seconds that this stream has spent blocked in wait() so far; read after a synchronize().
  virtual double seconds_waited() const = 0;
};

/// enter() and leave() of a scope.
class StreamRange {
 public:
  StreamRange(Stream& stream, const char* what, std::int64_t bytes = 0) : stream_(stream) {
    stream_.enter(what, bytes);
  }
  ~StreamRange() { stream_.leave(); }
  StreamRange(const StreamRange&) = delete;
  StreamRange& operator=(const StreamRange&) = delete;

 private:
  Stream& stream_;
};

/// Host memory that a device copies from and to beside its work. Zeroed.
struct HostMemory {
  std::shared_ptr<std::byte> data;
  std::size_t bytes = 0;
};

/// Compute streams own the device's threads; a communication stream gets one, and priority where that exists.
enum class StreamKind { compute, communication };

class Device {
 public:
  virtual ~Device() = default;
  virtual std::unique_ptr<Stream> stream(std::string name, StreamKind kind) = 0;
  virtual std::unique_ptr<Event> event(std::string name) = 0;
  /// One block of device memory, zeroed, so that it is really there; does_not_fit if the machine has too little.
  virtual Arena arena(std::string name, std::size_t bytes) = 0;
  virtual HostMemory host_memory(std::size_t bytes) = 0;
  virtual std::string describe() const = 0;  // "cpu", "cuda:0 NVIDIA H100"
  /// What its streams report their operations to.
  virtual Trace& trace() = 0;
};

}  // namespace sherd
