#pragma once
// The order of a run: a keyed permutation of the bins per epoch, and which rank takes which sequence of a global batch.
// Everything is a pure function of (seed, step), so a run can start at any step at no cost, with any number of ranks.
#include <cstdint>

#include "sherd/base/rng.hpp"

namespace sherd {

/// A bijection of [0, n), computed element by element: a Feistel network over the next even number of bits (Luby and
/// Rackoff, 1988), walked along its cycle until it falls below n (Black and Rogaway, "Ciphers with arbitrary finite
/// domains", 2002). At most 4 evaluations on average.
class Permutation {
 public:
  Permutation(std::int64_t n, const Random& key);
  std::int64_t operator()(std::int64_t i) const;  // 0 <= i < n
  std::int64_t size() const { return n_; }

 private:
  std::uint64_t encrypt(std::uint64_t x) const;

  std::int64_t n_;
  unsigned half_bits_;
  Random key_;
};

/// Which bin is sequence g of global batch `step`. Epochs drop what does not fill a global batch; every epoch has
/// another permutation, so other bins are dropped.
class BatchOrder {
 public:
  /// Bad input when there are fewer bins than one global batch takes.
  BatchOrder(std::int64_t bins, std::int64_t global_batch, std::uint64_t seed);
  std::int64_t bin(std::int64_t step, std::int64_t sequence);
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }

 private:
  std::int64_t bins_, global_batch_, steps_per_epoch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = 0;
  Permutation permutation_;  // of epoch_
};

/// The place of a rank: sequence g of a global batch is row b of micro-batch `micro` of `rank`,
/// g = (micro * world + rank) * rows + b.
constexpr std::int64_t sequence_of(std::int64_t micro, std::int64_t world, std::int64_t rank, std::int64_t rows,
                                   std::int64_t b) {
  return (micro * world + rank) * rows + b;
}

}  // namespace sherd
