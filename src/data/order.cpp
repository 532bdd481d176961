#include "sherd/data/order.hpp"

#include <bit>

#include "sherd/base/error.hpp"

namespace sherd {
namespace {

constexpr std::uint64_t kRounds = 6;

std::int64_t checked_bins(std::int64_t bins, std::int64_t global_batch) {
  SHERD_CHECK(global_batch > 0, "a global batch of {} sequences", global_batch);
  if (bins < global_batch) {
    throw bad_input(
        "the corpus has {} training sequences and a global batch takes {}: use more data, a shorter "
        "--max-seq-length, or a smaller batch",
        bins, global_batch);
  }
  return bins;
}

}  // namespace

Permutation::Permutation(std::int64_t n, const Random& key) : n_(n), key_(key) {
  SHERD_CHECK(n > 0, "a permutation of {} elements", n);
  const auto bits = static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(n - 1)));
  half_bits_ = std::max(1u, (bits + 1) / 2);
}

std::uint64_t Permutation::encrypt(std::uint64_t x) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = x >> half_bits_, right = x & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const std::uint64_t mixed = left ^ (key_.bits((round << 32) | right) & mask);  // half_bits_ <= 32
    left = right;
    right = mixed;
  }
  return (left << half_bits_) | right;
}

std::int64_t Permutation::operator()(std::int64_t i) const {
  SHERD_CHECK(i >= 0 && i < n_, "element {} of a permutation of {}", i, n_);
  auto x = static_cast<std::uint64_t>(i);
  do {
    x = encrypt(x);
  } while (x >= static_cast<std::uint64_t>(n_));
  return static_cast<std::int64_t>(x);
}

BatchOrder::BatchOrder(std::int64_t bins, std::int64_t global_batch, std::uint64_t seed)
    : bins_(checked_bins(bins, global_batch)),
      global_batch_(global_batch),
      steps_per_epoch_(bins / global_batch),
      seed_(seed),
      permutation_(bins, Random(seed, Purpose::order, 0)) {}

std::int64_t BatchOrder::bin(std::int64_t step, std::int64_t sequence) {
  SHERD_CHECK(step >= 0 && sequence >= 0 && sequence < global_batch_, "sequence {} of global batch {}", sequence, step);
  const std::int64_t epoch = step / steps_per_epoch_;
  if (epoch != epoch_) {
    permutation_ = Permutation(bins_, Random(seed_, Purpose::order, static_cast<std::uint64_t>(epoch)));
    epoch_ = epoch;
  }
  return permutation_((step % steps_per_epoch_) * global_batch_ + sequence);
}

}  // namespace sherd
