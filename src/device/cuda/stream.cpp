// Streams, events, and host work in a stream.
#include <chrono>
#include <memory>

#include "state.hpp"

namespace sherd::cuda {
namespace {

thread_local const DeviceState* running_for = nullptr;  // the device whose host work this thread does

struct HostWork {
  DeviceState* state;  // outlives it: a stream ends when no callback is left
  std::function<void()> work;
};

/// On the host thread: what it throws is kept for the next synchronize().
void do_work(const HostWork& host) {
  if (host.state->failed.load(std::memory_order_acquire)) return;
  running_for = host.state;
  try {
    host.work();
  } catch (...) {
    host.state->fail(std::current_exception());
  }
  running_for = nullptr;
}

/// CUDA calls it when the stream has come so far.
void run_host_work(void* data) {
  std::unique_ptr<HostWork> mine(static_cast<HostWork*>(data));
  DeviceState& state = *mine->state;
  ++state.callbacks;
  state.host_thread->run([&mine] { do_work(*mine); });
  mine.reset();
  --state.callbacks;
}

OwnedStream make_stream(StreamKind kind) {
  int least = 0, greatest = 0;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  const int priority = kind == StreamKind::communication ? greatest : least;
  CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority));
  return OwnedStream(stream);
}

}  // namespace

HostThread::~HostThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HostThread::run(const std::function<void()>& work) {
  const std::lock_guard turn(turn_);
  std::unique_lock lock(mutex_);
  work_ = &work;
  changed_.notify_all();
  changed_.wait(lock, [this] { return work_ == nullptr; });
}

void HostThread::main() {
  static_cast<void>(cudaSetDevice(device_));  // it was set by the main thread, which has heard of any failure
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || work_ != nullptr; });
    if (work_ == nullptr) return;
    lock.unlock();
    (*work_)();
    lock.lock();
    work_ = nullptr;
    changed_.notify_all();
  }
}

OwnedEvent make_event(unsigned flags) {
  cudaEvent_t event = nullptr;
  CUDA_CHECK(cudaEventCreateWithFlags(&event, flags));
  return OwnedEvent(event);
}

void DeviceState::note(const char* op) {
  std::string& text = last_ops[ops++ % kLastOps];
  text.clear();
  for (const TraceRange& range : ranges) text.append(range.name).append(" / ");
  text.append(op);
}

std::string DeviceState::last_enqueued() const {
  std::string out;
  for (std::size_t i = ops > kLastOps ? ops - kLastOps : 0; i < ops; ++i)
    out.append(out.empty() ? "" : ", ").append(last_ops[i % kLastOps]);
  return out;
}

void DeviceState::fail(std::exception_ptr e) {
  const std::lock_guard lock(error_mutex);
  if (!error) error = std::move(e);
  failed.store(true, std::memory_order_release);
}

CudaStream::CudaStream(std::shared_ptr<DeviceState> state, std::string name, StreamKind kind)
    : state_(std::move(state)),
      name_(std::move(name)),
      times_waits_(kind == StreamKind::compute),
      stream_(make_stream(kind)) {}

/// A device that has failed says so at once, while host work may still wait for a peer: it is told to give up, and
/// nothing that it uses may go before it has ended.
CudaStream::~CudaStream() {
  const bool unwinding = std::uncaught_exceptions() > 0;
  if (unwinding) state_->fail(std::make_exception_ptr(Error(ExitCode::internal, "the host gave up")));
  const cudaError_t rc = cudaStreamSynchronize(native());
  if (rc == cudaSuccess) return;
  state_->fail(std::make_exception_ptr(Error(ExitCode::internal, cudaGetErrorString(rc))));
  while (state_->callbacks.load() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (!unwinding) log::warn("stream {}: {}", name_, cudaGetErrorString(rc));
}

/// Called by destructors, too, on the way of an exception: an error waits for the next synchronize().
void CudaStream::record(sherd::Event& event) {
  try {
    auto& e = dynamic_cast<CudaEvent&>(event);
    CUDA_CHECK(cudaEventRecord(e.event.get(), native()));
    e.recorder = this;
    e.traced_before = taken_ + traced_.size();
  } catch (...) {
    state_->fail(std::current_exception());
  }
}

void CudaStream::wait(const sherd::Event& event, std::source_location) {
  if (state_->trace.on()) begin_slice();
  wait_until(dynamic_cast<const CudaEvent&>(event).event.get());
  if (state_->trace.on()) end_slice(times_waits_ ? Trace::kWaitsForCommunication : Trace::kWaitsForComputation);
}

void CudaStream::wait_until(cudaEvent_t until) {
  if (!times_waits_ || recording_ || waits_ == kTimedWaits) return CUDA_CHECK(cudaStreamWaitEvent(native(), until, 0));
  if (waits_ == around_waits_.size())
    around_waits_.emplace_back(make_event(cudaEventDefault), make_event(cudaEventDefault));
  const auto& [before, after] = around_waits_[waits_++];
  CUDA_CHECK(cudaEventRecord(before.get(), native()));
  CUDA_CHECK(cudaStreamWaitEvent(native(), until, 0));
  CUDA_CHECK(cudaEventRecord(after.get(), native()));
}

void CudaStream::synchronize() {
  const cudaError_t rc = cudaStreamSynchronize(native());
  state_->rethrow();  // what host work or a kernel said of it, rather than CUDA
  check_work(rc);
  add_waits();
  take_slices(traced_.size());
}

/// Waits that came before the event are counted by the next synchronize() of everything: they are few in a world of one
/// rank, the only one whose host runs ahead.
void CudaStream::synchronize(const sherd::Event& event) {
  const auto& e = dynamic_cast<const CudaEvent&>(event);
  const cudaError_t rc = cudaEventSynchronize(e.event.get());
  state_->rethrow();
  check_work(rc);
  if (e.recorder == this && e.traced_before > taken_) take_slices(e.traced_before - taken_);
}

/// With --debug every operation is waited for, and a trace wants each one's time, so none is recorded. What cannot be
/// recorded, or not kept, is left to be enqueued as it was: nothing of it has run.
std::unique_ptr<sherd::Recording> CudaStream::record(const std::function<void()>& work) {
  if (state_->debug || state_->trace.on()) return nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(native(), cudaStreamCaptureModeThreadLocal));
  recording_ = true;
  cudaGraph_t taken = nullptr;
  try {
    work();
  } catch (const Error& e) {
    recording_ = false;
    static_cast<void>(cudaStreamEndCapture(native(), &taken));
    if (taken != nullptr) static_cast<void>(cudaGraphDestroy(taken));
    throw Error(e.code(), fmt::format("while work was recorded: {}; --no-cuda-graphs does without that", e.what()),
                e.where());
  }
  recording_ = false;
  cudaError_t rc = cudaStreamEndCapture(native(), &taken);
  const Owned<cudaGraph_t, &cudaGraphDestroy> graph(taken);
  cudaGraphExec_t ready = nullptr;
  if (rc == cudaSuccess) rc = cudaGraphInstantiate(&ready, graph.get(), 0);
  if (rc == cudaSuccess) return std::make_unique<CudaRecording>(ready);
  static_cast<void>(cudaGetLastError());  // or the next call would report it again
  log::warn("{} cannot record a step's work as a CUDA graph ({}: {}), so it is enqueued anew each time", state_->name,
            cudaGetErrorName(rc), cudaGetErrorString(rc));
  return nullptr;
}

void CudaStream::start(const sherd::Recording& recording) {
  CUDA_CHECK(cudaGraphLaunch(dynamic_cast<const CudaRecording&>(recording).graph.get(), native()));
  state_->note("recorded work");
}

void CudaStream::check_work(cudaError_t rc) const {
  if (rc == cudaSuccess) return;
  cuda_check(rc,
             fmt::format("stream {} of {} (enqueued last: {})", name_, state_->name, state_->last_enqueued()).c_str());
}

void CudaStream::add_waits() {
  for (std::size_t i = 0; i < waits_; ++i) {
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, around_waits_[i].first.get(), around_waits_[i].second.get()));
    seconds_waited_ += static_cast<double>(milliseconds) / 1e3;
  }
  waits_ = 0;
}

void CudaStream::enter(const char* what, std::int64_t bytes) {
  state_->ranges.push_back({what, bytes});
  push_range(what);
}

void CudaStream::leave() {
  state_->ranges.pop_back();
  pop_range();
}

CudaStream& stream_of(sherd::Stream& s) {
  return dynamic_cast<CudaStream&>(s);
}

cudaStream_t native(sherd::Stream& s) {
  return stream_of(s).native();
}
const DeviceFacts& facts(sherd::Stream& s) {
  return stream_of(s).state().facts;
}
Trouble* trouble(sherd::Stream& s) {
  return stream_of(s).state().device_trouble;
}

void will_run(sherd::Stream& s) {
  CudaStream& stream = stream_of(s);
  if (stream.state().trace.on()) stream.begin_slice();
}

void ran(sherd::Stream& s, const char* op) {
  CudaStream& stream = stream_of(s);
  stream.state().note(op);
  if (stream.state().trace.on()) stream.end_slice(op);
  if (!stream.state().debug) return;
  const cudaError_t rc = cudaStreamSynchronize(stream.native());
  stream.state().rethrow();
  cuda_check(rc, stream.state().last_ops[(stream.state().ops - 1) % DeviceState::kLastOps].c_str());
}

void enqueue_host(sherd::Stream& s, const char* op, std::function<void()> work) {
  CudaStream& stream = stream_of(s);
  if (!stream.state().host_thread)
    stream.state().host_thread = std::make_unique<HostThread>(stream.state().facts.index);
  auto data = std::make_unique<HostWork>(&stream.state(), std::move(work));
  will_run(s);
  cuda_check(cudaLaunchHostFunc(stream.native(), &run_host_work, data.get()), op);
  static_cast<void>(data.release());  // run_host_work deletes it
  ran(s, op);
}

bool interrupted() {
  return running_for != nullptr && running_for->failed.load(std::memory_order_acquire);
}

}  // namespace sherd::cuda
