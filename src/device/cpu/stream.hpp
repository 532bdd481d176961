#pragma once
// The queue behind a CPU stream, and what a device's streams share.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "hazards.hpp"

namespace sherd::cpu {

/// One record() of an event: set once, when the stream comes to it.
struct Ticket {
  std::atomic<bool> passed{false};
  void pass() {
    passed.store(true, std::memory_order_release);
    passed.notify_all();
  }
  void await() const { passed.wait(false, std::memory_order_acquire); }
};
using TicketPtr = std::shared_ptr<Ticket>;

class CpuEvent final : public sherd::Event {
 public:
  explicit CpuEvent(std::string name) : name_(std::move(name)) {}
  TicketPtr latest;      // null: never recorded
  Hazards::Clock clock;  // of the stream at the latest record()

 private:
  std::string name_;
};

class CpuStream;

struct Device::State {
  Options options;
  std::vector<CpuStream*> streams;
  std::unique_ptr<Hazards> hazards;  // null unless options.check_hazards
  std::set<WaitSite> sites, ignored;

  Trace trace;
  std::vector<TraceRange> ranges;  // entered, not yet left; the host's thread's

  /// The first error of any stream: all work after it is skipped, and the host sees it at its next synchronize().
  std::atomic<bool> failed{false};
  std::mutex error_mutex;
  std::exception_ptr error;
  void fail(std::exception_ptr e);
  void rethrow();
  /// Runs queued items on the host in the order of options.schedule until none is left.
  void drain();
};

class CpuStream final : public sherd::Stream {
 public:
  CpuStream(std::shared_ptr<Device::State> state, std::string name, StreamKind kind, int threads);
  ~CpuStream() override;
  void record(sherd::Event& event) override;
  void wait(const sherd::Event& event, std::source_location at) override;
  void synchronize() override;
  void synchronize(const sherd::Event& event) override;
  void enter(const char* what, std::int64_t bytes) override { state_->ranges.push_back({what, bytes}); }
  void leave() override { state_->ranges.pop_back(); }
  void mark(const char* what) override;
  const std::string& name() const override { return name_; }
  double seconds_waited() const override { return seconds_waited_; }

  void enqueue(const char* label, const Access& access, Work work);
  bool run_one();  // drained schedules: one item, if there is one that may run
  bool empty() const { return queue_.empty(); }

 private:
  struct Item {
    Work work;        // at most one of the three is set
    TicketPtr until;  // wait
    TicketPtr mark;   // record
    std::unique_ptr<TraceSlice> slice{};
  };
  void push(Item item);
  void execute(Item& item);
  void work(Item& item);
  std::unique_ptr<TraceSlice> open_slice(const char* op);
  void thread_main(int threads);
  bool threaded() const { return state_->options.schedule == Schedule::threaded; }

  std::shared_ptr<Device::State> state_;
  std::string name_;
  StreamKind kind_;
  int trace_index_ = -1;  // none yet
  std::size_t hazard_index_ = 0;
  std::deque<Item> queue_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::atomic<double> seconds_waited_{0};
  std::thread thread_;
};

}  // namespace sherd::cpu
