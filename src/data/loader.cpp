#include "sherd/data/loader.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/data/order.hpp"

namespace sherd {

/// The buffers of three steps in a ring: one that is computed with, one ready, one being filled.
class Loader::Reader {
 public:
  Reader(const Corpus& corpus, const BinTable& bins, const LoaderOptions& options, std::optional<BatchOrder> order,
         std::int64_t steps)
      : corpus_(corpus),
        bins_(bins),
        options_(options),
        order_(std::move(order)),
        steps_(steps),
        read_([this](std::int64_t first, std::span<std::int32_t> out) { corpus_.read_tokens(first, out); }),
        scratch_(static_cast<std::size_t>(bins.length()) + 1) {
    buffers_.assign(static_cast<std::size_t>(kSteps * options.accumulation), HostBatch(options.batch, bins.length()));
    thread_ = std::thread([this] { run(); });
  }
  Reader(const Reader&) = delete;

  ~Reader() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  const HostBatch& next() {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    SHERD_CHECK(order_ || taken_ < steps_ * options_.accumulation, "next() after the last of {} global batches",
                steps_);
    changed_.wait(lock, [this] { return filled_ > taken_ || error_; });
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (filled_ == taken_) std::rethrow_exception(error_);
    const HostBatch& batch = slot(taken_++);
    lock.unlock();
    changed_.notify_all();
    return batch;
  }

  std::span<const HostBatch> next_step() {
    SHERD_CHECK(taken_ % options_.accumulation == 0, "{} micro-batches taken, of {} per step", taken_,
                options_.accumulation);
    const HostBatch& first = next();
    for (std::int64_t i = 1; i < options_.accumulation; ++i) next();
    return {&first, static_cast<std::size_t>(options_.accumulation)};  // the ring holds whole steps
  }

  double seconds_waited() const { return waited_; }
  std::int64_t steps() const { return steps_; }
  std::int64_t steps_per_epoch() const { return order_ ? order_->steps_per_epoch() : steps_; }

 private:
  HostBatch& slot(std::int64_t micro) { return buffers_[static_cast<std::size_t>(micro) % buffers_.size()]; }

  void run() {
    try {
      for (std::int64_t i = 0; order_ || i < steps_ * options_.accumulation; ++i) {
        {
          std::unique_lock lock(mutex_);
          // The batches of the step taken last may still be read, so they and those ahead keep their buffers.
          changed_.wait(lock, [&] { return stop_ || i - taken_ < (kSteps - 1) * options_.accumulation; });
          if (stop_) return;
        }
        fill(slot(i), options_.first_step + i / options_.accumulation, i % options_.accumulation);
        {
          const std::lock_guard lock(mutex_);
          filled_ = i + 1;
        }
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
    changed_.notify_all();
  }

  void fill(HostBatch& batch, std::int64_t step, std::int64_t micro) {
    const std::int64_t global_batch = options_.accumulation * options_.world * options_.batch;
    batch.valid = 0;
    for (std::int64_t b = 0; b < options_.batch; ++b) {
      const std::int64_t sequence = sequence_of(micro, options_.world, options_.rank, options_.batch, b);
      const std::int64_t bin = order_ ? order_->bin(step, sequence) : step * global_batch + sequence;
      const std::span<const Piece> pieces = bin < bins_.size() ? bins_.bin(bin) : std::span<const Piece>{};
      fill_row(batch, b, pieces, read_, scratch_);
      for (const Piece& piece : pieces) batch.valid += piece.length;
    }
  }

  const Corpus& corpus_;
  const BinTable& bins_;
  LoaderOptions options_;
  std::optional<BatchOrder> order_;  // none: the bins in their own order
  std::int64_t steps_;               // global batches, without an order
  TokenReader read_;
  std::vector<std::int32_t> scratch_;  // (T + 1)

  static constexpr std::int64_t kSteps = 3;
  std::vector<HostBatch> buffers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t filled_ = 0, taken_ = 0;  // micro-batches since construction
  std::exception_ptr error_;
  bool stop_ = false;
  double waited_ = 0;
  std::thread thread_;
};

Loader::Loader(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}
Loader::Loader(Loader&&) noexcept = default;
Loader::~Loader() = default;

static std::int64_t global_batch_of(const LoaderOptions& o) {
  SHERD_CHECK(o.batch > 0 && o.accumulation > 0 && o.rank >= 0 && o.rank < o.world && o.first_step >= 0,
              "B {}, accumulation {}, rank {} of {}, step {}", o.batch, o.accumulation, o.rank, o.world, o.first_step);
  return checked_mul(checked_mul(o.batch, o.accumulation), o.world);
}

Loader Loader::training(const Corpus& corpus, const BinTable& bins, const LoaderOptions& options) {
  BatchOrder order(bins.size(), global_batch_of(options), options.seed);
  return Loader(std::make_unique<Reader>(corpus, bins, options, std::move(order), 0));
}

Loader Loader::evaluation(const Corpus& corpus, const BinTable& bins, const LoaderOptions& options,
                          std::int64_t max_steps) {
  const std::int64_t steps = std::min(max_steps, div_up(bins.size(), global_batch_of(options)));
  return Loader(std::make_unique<Reader>(corpus, bins, options, std::nullopt, steps));
}

const HostBatch& Loader::next() {
  return reader_->next();
}
std::span<const HostBatch> Loader::next_step() {
  return reader_->next_step();
}
double Loader::seconds_waited() const {
  return reader_->seconds_waited();
}
std::int64_t Loader::steps_per_epoch() const {
  return reader_->steps_per_epoch();
}
std::int64_t Loader::steps() const {
  return reader_->steps();
}

}  // namespace sherd
