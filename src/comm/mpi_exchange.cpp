#include "mpi_exchange.hpp"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {

using Clock = std::chrono::steady_clock;

namespace {

/// Seconds since 1970, so that the flight records of several hosts can be laid side by side.
double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

/// The requests in flight one way, a ring. What is left when a collective fails is given back to MPI: receives are
/// cancelled, sends are let go. The job ends then, so nobody reuses their buffers.
class MpiExchange::Requests {
 public:
  explicit Requests(std::int64_t window) : ring_(static_cast<std::size_t>(window), MPI_REQUEST_NULL) {}
  ~Requests() {
    for (MPI_Request& r : ring_) {
      if (r == MPI_REQUEST_NULL) continue;
      MPI_Cancel(&r);
      MPI_Request_free(&r);
    }
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
  MPI_Request& operator[](std::int64_t i) { return ring_[static_cast<std::size_t>(i) % ring_.size()]; }

 private:
  std::vector<MPI_Request> ring_;
};

/// How to wait without burning a core that computes. MPI moves data only inside its calls, so a link whose messages
/// come fast (shared memory) is polled, then yielded to, then slept on for an eighth of the time waited so far: a
/// longer sleep would halve its rate. A link whose messages take a millisecond and more is slept on at once for a
/// quarter of that time: the kernel's buffers go on without us, and polls and yields would take from computation
/// several times what the data does (measured in docs/performance.md).
class MpiExchange::Patience {
 public:
  explicit Patience(double& pace) : pace_(pace) {}
  /// `messages` have come or gone since the last call.
  void moved(std::int64_t messages) {
    const Clock::time_point now = Clock::now();
    if (started_) {
      const double each = std::chrono::duration<double>(now - moved_).count() / static_cast<double>(messages);
      pace_ += (each - pace_) / 8;
    }
    started_ = true;  // the first message of a collective also waited for its peer to come to it
    moved_ = now;
    polls_ = 0;
  }
  /// Seconds since something moved.
  double pause() {
    if (polls_ == 0) since_ = Clock::now();
    ++polls_;
    const bool slow = pace_ >= kSlowLink;
    if (!slow && polls_ <= kSpins) return 0.0;
    const double waited = std::chrono::duration<double>(Clock::now() - since_).count();
    if (slow)
      sleep(std::min(pace_ / 4, kLongestSleep));
    else if (waited < kYieldSeconds)
      ::sched_yield();
    else
      sleep(std::clamp(waited / 8, kShortestSleep, kLongSleep));
    return waited;
  }

 private:
  static void sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }
  static constexpr int kSpins = 20;
  static constexpr double kYieldSeconds = 2e-4, kShortestSleep = 5e-5, kLongSleep = 2e-4;
  static constexpr double kSlowLink = 1e-3, kLongestSleep = 2e-3;
  double& pace_;  // seconds per message, averaged over the last ones of this axis
  bool started_ = false;
  std::int64_t polls_ = 0;
  Clock::time_point since_{}, moved_{};
};

MpiExchange::MpiExchange(MpiComm comm, std::string axis, MpiOptions options)
    : comm_(std::move(comm)),
      axis_(std::move(axis)),
      options_(std::move(options)),
      rank_(comm_.rank()),
      size_(comm_.size()) {
  SHERD_CHECK(options_.rank_names.empty() || std::cmp_equal(options_.rank_names.size(), size_),
              "{} names for {} ranks of axis {}", options_.rank_names.size(), size_, axis_);
  SHERD_CHECK(options_.message_bytes >= 64 && options_.message_bytes <= std::int64_t{1} << 30, "messages of {} bytes",
              options_.message_bytes);
}

void MpiExchange::begin(Collective collective, CommTag tag, std::size_t bytes) {
  counter_[static_cast<std::size_t>(collective)].calls.fetch_add(1, std::memory_order_relaxed);
  flight_.begin(collective, tag, narrow<std::int64_t>(bytes), wall_time());
}

void MpiExchange::end() {
  flight_.end(wall_time());
}

void MpiExchange::run(std::int64_t count, std::int64_t window, const std::function<Transfer(std::int64_t)>& transfer,
                      const std::function<void(std::int64_t)>& landed) {
  Requests receives(window), sends(window);
  Patience patience(pace_);
  std::int64_t asked = 0, received = 0, offered = 0, sent = 0;  // how far each has come; all end at count
  bool roll_called = false;
  while (received < count || sent < count) {
    for (; asked < std::min(count, received + window); ++asked) post_receive(transfer(asked), receives[asked]);
    for (; offered < std::min(count, sent + window); ++offered) post_send(transfer(offered), sends[offered]);
    const std::int64_t before = received + sent;
    if (received < asked && complete(receives[received])) landed(received++);
    while (sent < offered && complete(sends[sent])) ++sent;
    if (received + sent > before) {
      patience.moved(received + sent - before);
      continue;
    }
    const double waited = patience.pause();
    if (waited > 0.0 && cpu::interrupted()) {
      throw comm_error("{}: given up, because this rank failed elsewhere", doing());
    }
    if (waited > 0.5 * options_.timeout_seconds && !roll_called) {
      call_roll();
      roll_called = true;
    }
    if (waited > options_.timeout_seconds) {
      std::vector<int> pending;
      for (std::int64_t i = received; i < asked; ++i) {
        if (!complete(receives[i])) pending.push_back(transfer(i).from);
      }
      for (std::int64_t i = sent; i < offered && pending.empty(); ++i) pending.push_back(transfer(i).to);
      give_up(pending);
    }
  }
}

void MpiExchange::post_receive(const Transfer& t, MPI_Request& request) {
  if (t.from < 0) return;
  check(MPI_Irecv(t.in.data(), narrow<int>(t.in.size()), MPI_BYTE, t.from, message_tag(), comm_.get(), &request),
        "MPI_Irecv");
}

void MpiExchange::post_send(const Transfer& t, MPI_Request& request) {
  if (t.to < 0) return;
  counter_[static_cast<std::size_t>(flight_.current().collective)].bytes.fetch_add(narrow<std::int64_t>(t.out.size()),
                                                                                   std::memory_order_relaxed);
  check(MPI_Isend(t.out.data(), narrow<int>(t.out.size()), MPI_BYTE, t.to, message_tag(), comm_.get(), &request),
        "MPI_Isend");
}

bool MpiExchange::complete(MPI_Request& request) {
  int done = 0;
  check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
  return done != 0;
}

/// Sequence and collective, within the 32767 that every MPI has: ranks that disagree on what comes next never match,
/// and run into the deadline instead of taking each other's bytes.
int MpiExchange::message_tag() const {
  const FlightRecorder::Entry& e = flight_.current();
  return narrow<int>(e.sequence % 4096) * 8 + static_cast<int>(e.collective);
}

Traffic MpiExchange::traffic() const {
  Traffic t;
  for (std::size_t i = 0; i < counter_.size(); ++i) {
    t.row[i] = {counter_[i].calls.load(std::memory_order_relaxed), counter_[i].bytes.load(std::memory_order_relaxed)};
  }
  return t;
}

}  // namespace sherd
