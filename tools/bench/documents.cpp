#include "documents.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"

namespace sherd::bench {

std::vector<std::int32_t> document_starts(std::int64_t batch, std::int64_t length, std::int64_t mean,
                                          const Random& random) {
  std::vector<std::int32_t> starts(static_cast<std::size_t>(batch * length));
  if (mean == 0) return starts;
  std::uint64_t draws = std::uint64_t{1} << 32;  // a batch's tokens may have been drawn by the numbers below
  const auto draw = [&] {
    return static_cast<std::int64_t>(random.bits(draws++) % (2 * static_cast<std::uint64_t>(mean) - 1)) + 1;
  };
  std::int64_t left = draw(), start = 0;
  for (std::int64_t k = 0; k < std::ssize(starts); ++k) {
    const std::int64_t t = k % length;
    if (left == 0) start = t;
    if (left == 0) left = draw();
    if (t == 0) start = 0;
    --left;
    starts[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(start);
  }
  return starts;
}

std::vector<std::vector<std::int64_t>> document_lengths(const std::vector<std::int32_t>& starts, std::int64_t length) {
  SHERD_CHECK(length > 0 && std::ssize(starts) % length == 0, "{} tokens in rows of {}", starts.size(), length);
  std::vector<std::vector<std::int64_t>> rows;
  for (std::int64_t k = 0; k < std::ssize(starts); ++k) {
    if (k % length == 0) rows.emplace_back();
    const std::int64_t t = k % length;
    if (starts[static_cast<std::size_t>(k)] == t) rows.back().push_back(0);
    ++rows.back().back();
  }
  return rows;
}

std::int64_t most_documents(const std::vector<std::int32_t>& starts, std::int64_t length) {
  std::int64_t most = 0;
  for (const auto& row : document_lengths(starts, length)) most = std::max<std::int64_t>(most, std::ssize(row));
  return most;
}

}  // namespace sherd::bench
