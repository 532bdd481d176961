#pragma once
// A chess engine as a child process, by the Universal Chess Interface (S. Meyer-Kahlen and R. Huber, 2000).
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sherd::chess {

struct EngineSettings {
  std::string path;                   // a program; looked for in PATH where it has no slash
  std::int64_t nodes = 10'000;        // searched per move: unlike time, the same on every machine
  int hash_mib = 16;                  // fixed, as the table's size changes what is found
  std::chrono::seconds patience{60};  // how long an answer may take
};

class UciEngine {
 public:
  /// Starts the engine with one thread. Bad input where there is none; communication error where it does not answer.
  explicit UciEngine(const EngineSettings& settings);
  UciEngine(const UciEngine&) = delete;
  UciEngine& operator=(const UciEngine&) = delete;
  ~UciEngine();

  /// Makes it forget all games before.
  void begin_game();
  /// Its move after these, from the standard position; each has a space behind it.
  std::string best_move(std::string_view moves);

 private:
  void start();
  void stop() noexcept;
  void greet();
  void send(std::string text);
  std::string read_line();
  /// Reads lines until one begins with a word, and returns that line.
  std::string wait_for(std::string_view word);
  void wait_ready();

  EngineSettings settings_;
  pid_t child_ = -1;
  int socket_ = -1;
  std::string unread_;
};

}  // namespace sherd::chess
