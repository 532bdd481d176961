#pragma once
// Loader: a thread that reads the micro-batches of the next steps while one is computed.
#include <cstdint>
#include <memory>
#include <span>

#include "sherd/data/batch.hpp"
#include "sherd/data/packing.hpp"

namespace sherd {

class Corpus;

struct LoaderOptions {
  std::uint64_t seed = 42;
  std::int64_t batch = 1;  // B: sequences per micro-batch
  std::int64_t rank = 0;
  std::int64_t world = 1;
  std::int64_t accumulation = 1;  // micro-batches per step; a global batch is accumulation * world * batch sequences
  std::int64_t first_step = 0;    // where to start: the cursor of a resumed run
};

/// Batches of this rank, in the order global batch by global batch, micro-batch by micro-batch. The corpus and the bins
/// must outlive it. Nothing is allocated after construction.
class Loader {
 public:
  /// Shuffled by the keyed order of order.hpp, without end. Bad input when there is not one whole global batch.
  static Loader training(const Corpus& corpus, const BinTable& bins, const LoaderOptions& options);
  /// The bins in their own order, `steps()` global batches and at most max_steps; sequences that are missing in the
  /// last one have no targets.
  static Loader evaluation(const Corpus& corpus, const BinTable& bins, const LoaderOptions& options,
                           std::int64_t max_steps);
  Loader(Loader&&) noexcept;
  ~Loader();

  /// The next micro-batch, valid until `accumulation` more were taken. Rethrows what went wrong while reading it.
  const HostBatch& next();
  /// All micro-batches of the next step, valid until the next call.
  std::span<const HostBatch> next_step();
  double seconds_waited() const;         // in next(), since construction
  std::int64_t steps_per_epoch() const;  // of training
  std::int64_t steps() const;            // of evaluation: the global batches that next() has

 private:
  class Reader;
  explicit Loader(std::unique_ptr<Reader> reader);
  std::unique_ptr<Reader> reader_;
};

}  // namespace sherd
