#pragma once
// MpiExchange: the only place that sends and receives. A collective is a list of transfers, the same length on all
// ranks, of which a few are in flight at a time; transfer i of one rank meets transfer i of its peers, so none can
// block another.
#include <atomic>
#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "sherd/comm/flight_recorder.hpp"
#include "sherd/comm/mpi.hpp"

namespace sherd {

/// One message each way; peer -1 leaves that way out.
struct Transfer {
  int to = -1;
  std::span<const std::byte> out{};
  int from = -1;
  std::span<std::byte> in{};
};

class MpiExchange {
 public:
  MpiExchange(MpiComm comm, std::string axis, MpiOptions options);
  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& axis() const { return axis_; }
  std::int64_t message_bytes() const { return options_.message_bytes; }

  /// Around the transfers of one collective. `bytes`: of the whole tensor, for the flight record.
  void begin(Collective collective, CommTag tag, std::size_t bytes);
  void end();

  /// Runs transfers 0 ... count - 1, at most `window` in flight each way; calls landed(i) in order as they arrive. The
  /// landing buffer of i may be that of i - window.
  void run(std::int64_t count, std::int64_t window, const std::function<Transfer(std::int64_t)>& transfer,
           const std::function<void(std::int64_t)>& landed);

  Traffic traffic() const;

 private:
  class Requests;
  class Patience;
  void post_receive(const Transfer& t, MPI_Request& request);
  void post_send(const Transfer& t, MPI_Request& request);
  bool complete(MPI_Request& request);
  void check(int rc, const char* call) const;
  void call_roll();
  std::vector<bool> answered_roll();
  [[noreturn]] void give_up(std::vector<int> pending);
  std::string name_of_rank(int rank) const;
  std::string names_of(const std::vector<int>& ranks) const;
  std::string doing() const;
  std::string write_flight_record() const;
  int message_tag() const;

  MpiComm comm_;
  std::string axis_;
  MpiOptions options_;
  int rank_, size_;
  FlightRecorder flight_;
  double pace_ = 0;  // seconds between messages, which says how to wait for the next
  std::int64_t roll_token_ = 0;
  std::vector<MPI_Request> roll_sends_;
  struct Counter {
    std::atomic<std::int64_t> calls{0}, bytes{0};
  };
  std::array<Counter, kCollectives> counter_{};
};

}  // namespace sherd
