// The host's side of the emulated runtime: streams as threads, events as tickets, device memory behind a protection
// key.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fibers.hpp"

namespace {

struct Ticket {
  std::atomic<bool> passed{false};
  double when = 0;  // by its stream's clock, in microseconds
};
/// Of this stream's thread. All kernels take equally long; what knows better adds to it.
thread_local double stream_clock = 0;
/// Of the host: what it enqueues starts no earlier, and it is no earlier than what it has waited for. It is the
/// emulation's own time, in which the host takes none but EMULATED_CUDA_HOST_MICROSECONDS for a launch.
std::atomic<double> host_clock{0};

void catch_up(std::atomic<double>& clock, double with) {
  for (double now = clock; now < with && !clock.compare_exchange_weak(now, with);) {
  }
}

/// Once a kernel has failed everything fails, as on a device.
std::atomic<int> sticky{cudaSuccess};
/// Changes when a stream has come to the end of its work, and when the device fails.
std::atomic<std::uint32_t> news{0};

void tell_news() {
  ++news;
  news.notify_all();
}
std::atomic<std::uint64_t> launches{0};
using emulation::device_key, emulation::environment;

std::mutex asked_mutex;
std::map<const void*, std::size_t> asked;  // dynamic shared memory, by kernel
std::size_t shared_asked(const void* kernel) {
  const std::lock_guard lock(asked_mutex);
  const auto found = asked.find(kernel);
  return found == asked.end() ? 0 : found->second;
}

}  // namespace

struct CUevent_st {
  std::shared_ptr<Ticket> latest;
};

/// What a stream was given while it was captured, in order.
struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};

struct CUstream_st {
  CUstream_st() : thread([this] { main(); }) {}
  ~CUstream_st() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    thread.join();
  }
  void push(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex);
      queue.push_back([work = std::move(work), enqueued = host_clock.load()] {
        thread_local double caught_up = 0;  // once: what an invented library saves makes the clock go back (fake_cudnn)
        if (enqueued > caught_up) stream_clock = std::max(stream_clock, enqueued);
        caught_up = enqueued;
        work();
      });
    }
    wake.notify_all();
  }
  void main() {
    if (device_key() >= 0) pkey_set(device_key(), 0);
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [this] { return stopping || !queue.empty(); });
        if (queue.empty()) return;
        work = std::move(queue.front());
        queue.pop_front();
      }
      work();
    }
  }
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> queue;
  bool stopping = false;
  /// While it is captured work goes here; what capture forbids (waiting, events of other streams) makes it invalid.
  std::unique_ptr<CUgraph_st> captured;
  bool invalidated = false;
  std::thread thread;
};

namespace {

/// The error of something that a captured stream must not do, which spoils the capture.
cudaError_t forbidden(cudaStream_t stream, cudaError_t why) {
  stream->invalidated = true;
  return why;
}

cudaError_t state() {
  return static_cast<cudaError_t>(sticky.load());
}

void fail(long why) {
  sticky = static_cast<int>(why);
  tell_news();
}

/// Work that is skipped once something has failed.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  if (state() != cudaSuccess) return state();
  const auto checked = [work = std::move(work)] {
    if (state() == cudaSuccess) work();
  };
  if (stream->captured)
    stream->captured->work.emplace_back(checked);
  else
    stream->push(checked);
  return cudaSuccess;
}

}  // namespace

double emulation::kernel_microseconds() {
  static const auto each = static_cast<double>(environment("EMULATED_CUDA_KERNEL_MICROSECONDS", 1));
  return each;
}

std::uint64_t emulation::kernels_launched() {
  return launches.load();
}

void emulation::take_time(double microseconds) {
  stream_clock += microseconds;
}

void emulation::host_takes(double microseconds) {
  host_clock += microseconds;
}

double emulation::host_microseconds() {
  return host_clock;
}

/// EMULATED_CUDA_FAILS_WITH: the error that launch EMULATED_CUDA_FAILS_AT of the process ends in.
cudaError_t emulation::launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread) {
  constexpr std::size_t kUnasked = 47 << 10;  // 48 KiB, less what a kernel may have of its own
  if (config.dynamicSmemBytes > kUnasked && shared_asked(kernel) < config.dynamicSmemBytes)
    return cudaErrorInvalidValue;
  static const auto host = static_cast<double>(environment("EMULATED_CUDA_HOST_MICROSECONDS", 0));
  host_takes(host);
  return enqueue(config.stream, [config, thread = std::move(thread), number = launches++] {
    try {
      if (static_cast<long>(number) == environment("EMULATED_CUDA_FAILS_AT", -1)) {
        fail(environment("EMULATED_CUDA_FAILS_WITH", cudaErrorLaunchFailure));
        return;
      }
      take_time(kernel_microseconds());
      run_grid(config.gridDim, config.blockDim, config.dynamicSmemBytes, number, thread);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "emulated kernel: %s\n", e.what());
      fail(cudaErrorLaunchFailure);
    }
  });
}

const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorECCUncorrectable:
      return "cudaErrorECCUncorrectable";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory"
         : e == cudaErrorLaunchFailure  ? "unspecified launch failure"
                                        : "an error";
}
cudaError_t cudaGetLastError() {
  return state();
}
cudaError_t cudaPeekAtLastError() {
  return state();
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(environment("EMULATED_CUDA_DEVICES", 1));
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}
cudaError_t cudaInitDevice(int, unsigned, unsigned) {
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  const std::lock_guard lock(asked_mutex);
  asked[kernel] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {};
  const char* const name = std::getenv("EMULATED_CUDA_NAME");
  std::snprintf(p->name, sizeof p->name, "%s", name != nullptr ? name : "Emulated GPU");
  const long capability = environment("EMULATED_CUDA_CAPABILITY", 90);
  p->major = static_cast<int>(capability / 10);
  p->minor = static_cast<int>(capability % 10);
  p->multiProcessorCount = 4;
  p->totalGlobalMem = emulation::device_bytes();
  p->sharedMemPerBlockOptin = emulation::kSharedBytes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 0;
  return cudaErrorInvalidValue;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device) {
  std::snprintf(text, static_cast<std::size_t>(bytes), "0000:%02x:00.0", device + 1);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* v) {
  *v = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* v) {
  *v = 13000;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned, int) {
  *out = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
/// Like CUDA's it does not wait for what goes on elsewhere once the device has failed.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->captured) return forbidden(stream, cudaErrorStreamCaptureUnsupported);
  const auto done = std::make_shared<std::atomic<bool>>(false);
  stream->push([done] {
    catch_up(host_clock, stream_clock);
    *done = true;
    tell_news();
  });
  for (;;) {
    const std::uint32_t seen = news;
    if (*done || state() != cudaSuccess) return state();
    news.wait(seen);
  }
}
cudaError_t cudaStreamQuery(cudaStream_t) {
  return state();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (stream->captured) return forbidden(stream, cudaErrorStreamCaptureIsolation);
  if (event->latest) {
    stream->push([ticket = event->latest] {
      ticket->passed.wait(false);
      stream_clock = std::max(stream_clock, ticket->when);
    });
  }
  return state();
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->captured) return cudaErrorInvalidValue;
  stream->captured = std::make_unique<CUgraph_st>();
  stream->invalidated = false;
  return state();
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* out) {
  *out = nullptr;
  if (!stream->captured) return cudaErrorInvalidValue;
  const std::unique_ptr<CUgraph_st> taken = std::move(stream->captured);
  if (stream->invalidated) return cudaErrorStreamCaptureInvalidated;
  *out = new CUgraph_st(std::move(*taken));
  return state();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long) {
  if (emulation::environment("EMULATED_CUDA_GRAPHS", 1) == 0) return cudaErrorMemoryAllocation;
  *out = new CUgraphExec_st{graph->work};
  return state();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  if (stream->captured) return forbidden(stream, cudaErrorStreamCaptureUnsupported);
  for (const auto& work : graph->work) stream->push(work);
  return state();
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
  *out = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream->captured)
    return forbidden(stream, cudaErrorStreamCaptureIsolation);  // stricter than CUDA: none is needed
  event->latest = std::make_shared<Ticket>();
  stream->push([ticket = event->latest] {
    ticket->when = stream_clock;
    ticket->passed = true;
    ticket->passed.notify_all();
  });
  return state();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->latest) {
    event->latest->passed.wait(false);
    catch_up(host_clock, event->latest->when);
  }
  return state();
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t a, cudaEvent_t b) {
  if (!a->latest || !b->latest) return cudaErrorInvalidValue;
  *ms = static_cast<float>((b->latest->when - a->latest->when) / 1000);
  return cudaSuccess;
}
/// Not called once the device has failed: CUDA's rule.
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* data) {
  return enqueue(stream, [fn, data] {
    if (device_key() >= 0) pkey_set(device_key(), PKEY_DISABLE_ACCESS);
    fn(data);
    emulation::take_time(emulation::kernel_microseconds());  // whatever it was in the host's time
    if (device_key() >= 0) pkey_set(device_key(), 0);
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return enqueue(stream, [=] { std::memmove(to, from, bytes); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t stream) {
  return enqueue(stream, [=] {
    for (std::size_t i = 0; i < height; ++i)
      std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width);
  });
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return enqueue(stream, [=] { std::memset(to, value, bytes); });
}
