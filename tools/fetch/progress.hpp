#pragma once
// What a person or a script sees of a fetch: bars for active files and for the whole on a terminal, below the files
// that are finished; a line per finished file and one every ten seconds in a log; JSON lines for scripts.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace sherd::fetch {

enum class ProgressStyle { terminal, log, json };

class Progress {
 public:
  /// One active file; counted from several threads.
  struct File {
    std::string path;
    std::int64_t size = 0;
    std::atomic<std::int64_t> bytes{0};
    std::chrono::steady_clock::time_point begin{};
    std::int64_t bytes_at_begin = 0;
  };

  /// To standard error; JSON to standard output.
  explicit Progress(ProgressStyle style);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void expect(std::int64_t files, std::int64_t bytes);
  File& begin(const std::string& path, std::int64_t size);
  /// `kept` bytes are here from an earlier start.
  void resumed(File& file, std::int64_t kept);
  void end(File& file, const std::string& digest, bool was_here);
  void received(File& file, std::int64_t bytes);
  void lost(File& file, std::int64_t bytes);  // what came was no good
  /// The last lines; once.
  void finish(const std::string& directory);

  std::int64_t bytes_received() const { return received_; }

 private:
  using Clock = std::chrono::steady_clock;
  void run();
  void draw();
  void log_line();
  void erase_drawing();
  double seconds() const;

  const ProgressStyle style_;
  const Clock::time_point begin_ = Clock::now();
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::list<File> active_;
  std::int64_t files_ = 0, files_done_ = 0, bytes_ = 0, bytes_here_ = 0;
  std::atomic<std::int64_t> received_{0}, present_{0};  // over the network; in all, with what was here
  double rate_ = 0;                                     // bytes per second, smoothed
  std::int64_t received_before_ = 0;
  Clock::time_point rated_ = begin_;
  int lines_drawn_ = 0;
  std::string finished_;  // lines to be written above the drawing
  std::thread thread_;
};

/// "12.4 MB", "3.1 GB"; "1:02:03".
std::string bytes_text(double bytes);
std::string time_text(double seconds);

}  // namespace sherd::fetch
