// vswitch DELAY_US RATE_MBIT NAMESPACE=INTERFACE...: an Ethernet switch in user space between network namespaces.
// Stands in for `tc netem delay` where the kernel has no netem: a frame leaves DELAY_US after it came in, and each port
// sends at most RATE_MBIT (0: no cap). Prints "ready" once its interfaces are there. Used by hosts.sh -d.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;
using Address = std::array<char, 6>;

constexpr std::size_t kMaxQueued = 64u << 20;  // bytes waiting at a port; more are dropped, as a switch does
constexpr std::size_t kMaxFrame = 70000;
constexpr int kFramesPerTurn = 32;  // read from one port before the others get their turn

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Frame {
  Clock::time_point due;
  std::vector<char> bytes;
};

struct Port {
  int fd;
  Clock::time_point free_at{};  // when the link has sent what was given to it
  std::deque<Frame> queue;
  std::size_t queued = 0;  // bytes
};

// A TAP device named by "NAMESPACE=INTERFACE", made in that namespace and read from this process.
int open_tap(const std::string& end) {
  const auto equals = end.find('=');
  if (equals == std::string::npos) throw std::invalid_argument(end + " is not NAMESPACE=INTERFACE");
  const std::string space = "/run/netns/" + end.substr(0, equals);
  const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  const int there = open(space.c_str(), O_RDONLY | O_CLOEXEC);
  if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0) fail(space);
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  end.copy(request.ifr_name, IFNAMSIZ - 1, equals + 1);
  const int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0) fail("tap of " + end);
  if (setns(home, CLONE_NEWNET) != 0) fail("setns");
  close(there);
  close(home);
  return tap;
}

class Switch {
 public:
  Switch(Nanoseconds delay, double ns_per_byte) : delay_(delay), ns_per_byte_(ns_per_byte) {}

  void add(int fd) { ports_.push_back({fd, {}, {}, 0}); }

  // Sends what is due, waits for a frame or the next due time, and queues what came in.
  void turn() {
    for (Port& port : ports_) send_due(port);
    std::vector<pollfd> polled;
    for (const Port& port : ports_) polled.push_back({port.fd, POLLIN, 0});
    timespec timeout{};
    if (ppoll(polled.data(), polled.size(), until_next(timeout), nullptr) <= 0) return;
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      if (polled[i].revents & POLLIN) receive(i);
    }
  }

 private:
  void send_due(Port& port) {
    while (!port.queue.empty() && port.queue.front().due <= Clock::now()) {
      const Frame& frame = port.queue.front();
      [[maybe_unused]] const auto sent = write(port.fd, frame.bytes.data(), frame.bytes.size());  // lost frames happen
      port.queued -= frame.bytes.size();
      port.queue.pop_front();
    }
  }

  const timespec* until_next(timespec& timeout) const {
    std::optional<Clock::time_point> next;
    for (const Port& port : ports_) {
      if (!port.queue.empty()) next = std::min(next.value_or(port.queue.front().due), port.queue.front().due);
    }
    if (!next) return nullptr;
    const auto wait = std::max<std::int64_t>(0, Nanoseconds(*next - Clock::now()).count());
    timeout = {wait / 1'000'000'000, wait % 1'000'000'000};
    return &timeout;
  }

  void receive(std::size_t from) {
    std::array<char, kMaxFrame> buffer;
    for (int k = 0; k < kFramesPerTurn; ++k) {
      const auto size = read(ports_[from].fd, buffer.data(), buffer.size());
      if (size < 14) return;  // nothing more, or no Ethernet header
      forward(from, {buffer.data(), buffer.data() + size});
    }
  }

  // To the port behind which the receiver was last seen; to all others while it is unknown, and for broadcasts.
  void forward(std::size_t from, const std::vector<char>& bytes) {
    Address to, sender;
    std::copy_n(bytes.begin(), 6, to.begin());
    std::copy_n(bytes.begin() + 6, 6, sender.begin());
    seen_behind_[sender] = from;
    const auto known = seen_behind_.find(to);
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      if (i != from && (known == seen_behind_.end() || known->second == i)) enqueue(ports_[i], bytes);
    }
  }

  void enqueue(Port& port, const std::vector<char>& bytes) {
    if (port.queued > kMaxQueued) return;
    const auto sending = Nanoseconds(static_cast<std::int64_t>(static_cast<double>(bytes.size()) * ns_per_byte_));
    port.free_at = std::max(port.free_at, Clock::now()) + sending;
    port.queue.push_back({port.free_at + delay_, bytes});
    port.queued += bytes.size();
  }

  Nanoseconds delay_;
  double ns_per_byte_;
  std::vector<Port> ports_;
  std::map<Address, std::size_t> seen_behind_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) throw std::invalid_argument("usage: vswitch DELAY_US RATE_MBIT NAMESPACE=INTERFACE...");
  const double delay_us = std::stod(argv[1]), megabits = std::stod(argv[2]);
  Switch net(Nanoseconds(static_cast<std::int64_t>(delay_us * 1e3)), megabits > 0 ? 8e3 / megabits : 0);
  for (int i = 3; i < argc; ++i) net.add(open_tap(argv[i]));
  prctl(PR_SET_TIMERSLACK, 1);
  std::puts("ready");
  std::fflush(stdout);
  for (;;) net.turn();
} catch (const std::exception& error) {
  std::fprintf(stderr, "vswitch: %s\n", error.what());
  return 2;
}
