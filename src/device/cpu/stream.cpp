#include "stream.hpp"

#include <chrono>
#include <utility>

namespace sherd::cpu {

namespace {

thread_local const Device::State* running_on = nullptr;  // the device whose work this thread executes

}  // namespace

bool interrupted() {
  if (running_on == nullptr) return false;
  const auto also = running_on->options.interrupted;
  return running_on->failed.load(std::memory_order_acquire) || (also != nullptr && also());
}

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

void Device::State::fail(std::exception_ptr e) {
  const std::lock_guard lock(error_mutex);
  if (!error) error = std::move(e);
  failed.store(true, std::memory_order_release);
}

void Device::State::rethrow() {
  if (!failed.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(error_mutex);
  std::rethrow_exception(error);
}

void Device::State::drain() {
  const bool backwards = options.schedule == Schedule::last_stream_first;
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      CpuStream& s = *streams[backwards ? streams.size() - 1 - i : i];
      if (options.schedule == Schedule::alternating)
        moved |= s.run_one();
      else
        while (s.run_one()) moved = true;
      if (moved && options.schedule != Schedule::alternating) break;  // the favoured stream may go on now
    }
  }
  for (const CpuStream* s : streams) {
    SHERD_CHECK(s->empty(), "deadlock: stream {} waits for an event that nobody will record", s->name());
  }
}

CpuStream::CpuStream(std::shared_ptr<Device::State> state, std::string name, StreamKind kind, int threads)
    : state_(std::move(state)), name_(std::move(name)), kind_(kind) {
  state_->streams.push_back(this);
  if (state_->hazards) hazard_index_ = state_->hazards->add_stream(name_);
  if (threaded() && !state_->options.plan_only) thread_ = std::thread([this, threads] { thread_main(threads); });
}

CpuStream::~CpuStream() {
  if (std::uncaught_exceptions() > 0) {
    state_->fail(std::make_exception_ptr(Error(ExitCode::internal, "the host gave up")));  // queued work has no reader
  }
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  std::erase(state_->streams, this);
}

void CpuStream::thread_main(int threads) {
  set_threads(threads);
  for (;;) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    execute(item);
  }
}

void CpuStream::execute(Item& item) {
  if (item.slice) item.slice->begin = state_->trace.now();
  const bool waits = item.until && !item.until->passed;
  if (waits) {
    const auto begin = Clock::now();
    item.until->await();
    seconds_waited_ = seconds_waited_ + seconds_since(begin);
  }
  if (item.mark) item.mark->pass();  // also after an error: nobody must wait for ever
  if (item.work && !state_->failed.load(std::memory_order_acquire)) work(item);
  if (!item.slice || (item.until && !waits)) return;
  item.slice->end = state_->trace.now();
  state_->trace.add(*item.slice);
}

void CpuStream::work(Item& item) {
  running_on = state_.get();
  try {
    item.work();
  } catch (...) {
    state_->fail(std::current_exception());
  }
  running_on = nullptr;
}

bool CpuStream::run_one() {
  if (queue_.empty() || (queue_.front().until && !queue_.front().until->passed)) return false;
  Item item = std::move(queue_.front());
  queue_.pop_front();
  execute(item);
  return true;
}

void CpuStream::push(Item item) {
  if (state_->options.plan_only) return;
  if (threaded()) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(item));
    }
    wake_.notify_one();
    return;
  }
  queue_.push_back(std::move(item));
  if (state_->options.schedule == Schedule::in_order) {
    while (run_one()) {
    }
  }
}

/// Null if nothing is traced now.
std::unique_ptr<TraceSlice> CpuStream::open_slice(const char* op) {
  if (!state_->trace.on()) return nullptr;
  if (trace_index_ < 0) trace_index_ = state_->trace.add_stream(name_, kind_ == StreamKind::compute);
  return state_->trace.open(op, trace_index_, state_->ranges);
}

void CpuStream::enqueue(const char* label, const Access& access, Work work) {
  if (state_->hazards) state_->hazards->item(hazard_index_, label, access);
  push({std::move(work), nullptr, nullptr, open_slice(label)});
}

void CpuStream::mark(const char* what) {
  if (std::unique_ptr<TraceSlice> slice = open_slice(what)) push({nullptr, nullptr, nullptr, std::move(slice)});
}

void CpuStream::record(sherd::Event& event) {
  auto& e = dynamic_cast<CpuEvent&>(event);
  e.latest = std::make_shared<Ticket>();
  if (state_->hazards) e.clock = state_->hazards->record(hazard_index_);
  push({nullptr, nullptr, e.latest});
}

void CpuStream::wait(const sherd::Event& event, std::source_location at) {
  const auto& e = dynamic_cast<const CpuEvent&>(event);
  const WaitSite site{at.file_name(), at.line()};
  if (state_->hazards) {
    state_->sites.insert(site);
    if (state_->ignored.contains(site)) return;
    state_->hazards->wait(hazard_index_, e.clock);
  }
  if (!e.latest) return;
  const bool computes = kind_ == StreamKind::compute;
  push(
      {nullptr, e.latest, nullptr, open_slice(computes ? Trace::kWaitsForCommunication : Trace::kWaitsForComputation)});
}

void CpuStream::synchronize() {
  if (threaded() && !state_->options.plan_only) {
    const auto end = std::make_shared<Ticket>();
    push({nullptr, nullptr, end});
    end->await();
  } else {
    state_->drain();
  }
  if (state_->hazards) state_->hazards->host_waited(hazard_index_);
  state_->rethrow();
}

void CpuStream::synchronize(const sherd::Event& event) {
  const auto& e = dynamic_cast<const CpuEvent&>(event);
  if (!threaded() || state_->options.plan_only || !e.latest) return synchronize();
  e.latest->await();
  if (state_->hazards) state_->hazards->wait(0, e.clock);
  state_->rethrow();
}

void enqueue(sherd::Stream& stream, const char* label, const Access& access, Work work) {
  dynamic_cast<CpuStream&>(stream).enqueue(label, access, std::move(work));
}

}  // namespace sherd::cpu
