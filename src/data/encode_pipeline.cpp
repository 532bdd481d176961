#include "encode_pipeline.hpp"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kBlocksAhead = 4;  // per thread
constexpr std::int64_t kWarnedLines = 5;  // broken lines that are named; the others are only counted

/// Turns one block into tokens; one per thread, so that its buffers are reused.
class BlockEncoder {
 public:
  BlockEncoder(const Tokenizer& tokenizer, const EncodeOptions& options) : tokenizer_(tokenizer), options_(options) {}

  EncodedBlock encode(const LineBlock& block) {
    EncodedBlock out;
    out.bytes = narrow<std::int64_t>(block.text.size());
    const std::string_view text = block.text;
    for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
      end = std::min(text.find('\n', begin), text.size());
      encode_line(block, begin, text.substr(begin, end - begin), out);
    }
    return out;
  }

 private:
  void encode_line(const LineBlock& block, std::size_t begin, std::string_view line, EncodedBlock& out) {
    const std::int64_t offset = block.offset + narrow<std::int64_t>(begin);
    line = clean_line(line, offset);
    if (line.find_first_not_of(" \t") == std::string_view::npos) return;
    if (const char* complaint = parse_line(block.file->format, line, document_)) {
      report_bad_line(block.file->path, offset, complaint, out);
      return;
    }
    if (document_.empty()) return;
    ids_.clear();
    if (options_.bos >= 0) ids_.push_back(options_.bos);
    tokenizer_.encode(document_, ids_);
    if (options_.eos >= 0) ids_.push_back(options_.eos);
    out.lengths.push_back(narrow<std::uint32_t>(ids_.size()));
    options_.token_bytes == 2 ? append<std::uint16_t>(out.tokens) : append<std::uint32_t>(out.tokens);
  }

  void report_bad_line(const std::string& path, std::int64_t offset, const char* complaint, EncodedBlock& out) {
    if (!options_.skip_bad_lines) {
      throw bad_input("{}:{}: {}; correct the line, or leave out such lines with --skip-bad-lines", path,
                      line_number(path, offset), complaint);
    }
    ++out.bad_lines;
    if (++warned_ <= kWarnedLines) log::warn("{}: the line at byte {} is skipped: {}", path, offset, complaint);
  }

  template <class Stored>
  void append(std::vector<std::byte>& out) const {
    const std::size_t begin = out.size();
    out.resize(begin + ids_.size() * sizeof(Stored));
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      const auto token = static_cast<Stored>(ids_[i]);  // ids are below pieces(), which chose the width
      std::memcpy(out.data() + begin + i * sizeof token, &token, sizeof token);
    }
  }

  const Tokenizer& tokenizer_;
  const EncodeOptions& options_;
  std::string document_;
  std::vector<int> ids_;
  std::int64_t warned_ = 0;
};

class Pipeline {
 public:
  Pipeline(LineBlocks& lines, const std::function<void(const EncodedBlock&)>& write, std::int64_t threads)
      : lines_(lines), write_(write), ahead_(kBlocksAhead * threads) {}

  void work(BlockEncoder encoder) {
    LineBlock block;
    for (std::int64_t number = 0; take(block, number);) {
      try {
        deliver(number, encoder.encode(block));
      } catch (...) {
        fail(number, std::current_exception());
        return;
      }
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  bool take(LineBlock& block, std::int64_t& number) {
    const std::lock_guard lock(source_);
    number = taken_;
    try {
      if (stopped() || !lines_.next(block)) return false;
    } catch (...) {
      fail(number, std::current_exception());
      return false;
    }
    ++taken_;
    return true;
  }

  void deliver(std::int64_t number, EncodedBlock encoded) {
    std::unique_lock lock(sink_);
    turn_changed_.wait(lock, [&] { return number < turn_ + ahead_ || error_; });
    waiting_.emplace(number, std::move(encoded));
    while (!waiting_.empty() && waiting_.begin()->first == turn_) {
      write_(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      ++turn_;
    }
    lock.unlock();
    turn_changed_.notify_all();
  }

  void fail(std::int64_t number, std::exception_ptr error) {
    const std::lock_guard lock(sink_);
    if (number < failed_) {
      failed_ = number;
      error_ = std::move(error);
    }
    turn_changed_.notify_all();
  }

  bool stopped() {
    const std::lock_guard lock(sink_);
    return error_ != nullptr;
  }

  LineBlocks& lines_;
  const std::function<void(const EncodedBlock&)>& write_;
  const std::int64_t ahead_;
  std::mutex source_;  // lines_, taken_
  std::int64_t taken_ = 0;
  std::mutex sink_;  // what follows
  std::condition_variable turn_changed_;
  std::map<std::int64_t, EncodedBlock> waiting_;
  std::int64_t turn_ = 0, failed_ = std::numeric_limits<std::int64_t>::max();
  std::exception_ptr error_;
};

}  // namespace

void encode_lines(LineBlocks& lines, const Tokenizer& tokenizer, const EncodeOptions& options,
                  const std::function<void(const EncodedBlock&)>& write) {
  Pipeline pipeline(lines, write, options.threads);
  std::vector<std::thread> helpers;
  for (std::int64_t i = 1; i < options.threads; ++i) {
    helpers.emplace_back([&] { pipeline.work(BlockEncoder(tokenizer, options)); });
  }
  pipeline.work(BlockEncoder(tokenizer, options));
  for (std::thread& helper : helpers) helper.join();
  pipeline.rethrow();
}

}  // namespace sherd
