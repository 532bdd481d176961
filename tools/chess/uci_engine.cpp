#include "chess/uci_engine.hpp"

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

extern char** environ;

namespace sherd::chess {
namespace {

constexpr std::size_t kLongestLine = std::size_t{1} << 20;
constexpr int kQuitAttempts = 100;  // of 10 ms: how long an engine has to quit before it is killed

}  // namespace

UciEngine::UciEngine(const EngineSettings& settings) : settings_(settings) {
  start();
  try {
    greet();
  } catch (...) {
    stop();  // no destructor runs for an object that was not made
    throw;
  }
}

UciEngine::~UciEngine() {
  stop();
}

/// A socket for both directions instead of two pipes: writing to it can be told not to raise SIGPIPE.
void UciEngine::start() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw comm_error("{}: no socket for the engine: {}", settings_.path, std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::array<char*, 2> arguments{settings_.path.data(), nullptr};
  const int error = ::posix_spawnp(&child_, settings_.path.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  socket_ = ends[0];
  if (error == 0) return;
  ::close(socket_);
  throw bad_input("{}: cannot start the engine: {}", settings_.path, std::strerror(error));
}

void UciEngine::stop() noexcept {
  static constexpr std::string_view kQuit = "quit\n";
  ::send(socket_, kQuit.data(), kQuit.size(), MSG_NOSIGNAL);
  ::close(socket_);
  for (int i = 0; i < kQuitAttempts; ++i) {
    if (::waitpid(child_, nullptr, WNOHANG) != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

void UciEngine::greet() {
  send("uci");
  bool threads = false, hash = false;
  for (std::string line; line != "uciok";) {
    line = read_line();
    threads = threads || line.starts_with("option name Threads ");
    hash = hash || line.starts_with("option name Hash ");
  }
  if (threads) send("setoption name Threads value 1");
  if (hash) send(fmt::format("setoption name Hash value {}", settings_.hash_mib));
  wait_ready();
}

void UciEngine::begin_game() {
  send("ucinewgame");
  wait_ready();
}

std::string UciEngine::best_move(std::string_view moves) {
  send(moves.empty() ? "position startpos"
                     : fmt::format("position startpos moves {}", moves.substr(0, moves.size() - 1)));
  send(fmt::format("go nodes {}", settings_.nodes));
  std::string line = wait_for("bestmove ").substr(std::string_view("bestmove ").size());
  return line.substr(0, line.find(' '));
}

void UciEngine::wait_ready() {
  send("isready");
  wait_for("readyok");
}

void UciEngine::send(std::string text) {
  text += '\n';
  for (std::string_view left = text; !left.empty();) {
    const ssize_t n = ::send(socket_, left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw comm_error("{}: the engine has ended: {}", settings_.path, std::strerror(errno));
    left.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string UciEngine::wait_for(std::string_view word) {
  for (;;) {
    std::string line = read_line();
    if (line.starts_with(word)) return line;
  }
}

std::string UciEngine::read_line() {
  for (;;) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    if (unread_.size() > kLongestLine) throw comm_error("{}: the engine sent a line without end", settings_.path);
    pollfd waiting{socket_, POLLIN, 0};
    const auto patience = std::chrono::milliseconds(settings_.patience).count();
    const int ready = ::poll(&waiting, 1, static_cast<int>(patience));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      throw comm_error("{}: no answer from the engine in {} s; give it fewer nodes or more --patience", settings_.path,
                       settings_.patience.count());
    }
    std::array<char, 4096> part{};
    const ssize_t n = ::read(socket_, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw comm_error("{}: the engine has ended; does it speak UCI?", settings_.path);
    unread_.append(part.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace sherd::chess
