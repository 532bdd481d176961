#pragma once
// Random documents of packed batches, for benchmarks.
#include <cstdint>
#include <vector>

#include "sherd/base/rng.hpp"

namespace sherd::bench {

/// (B, T): where each token's document begins in its row. Documents of 1 to 2 `mean` - 1 tokens, one after the other;
/// what a row cuts off goes on in the next as a document of its own. A `mean` of 0: a row is one document.
std::vector<std::int32_t> document_starts(std::int64_t batch, std::int64_t length, std::int64_t mean,
                                          const Random& random);

/// The documents of each row, by their lengths.
std::vector<std::vector<std::int64_t>> document_lengths(const std::vector<std::int32_t>& starts, std::int64_t length);

/// The most documents of any row.
std::int64_t most_documents(const std::vector<std::int32_t>& starts, std::int64_t length);

}  // namespace sherd::bench
