// Documents as cuDNN's table of sequences: hand values by a loop on the host.
#include "../../../src/ops/cuda/cudnn_documents.hpp"

#include "harness.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::cuda {
namespace {

using namespace sherd::ops_test;

constexpr std::array<std::int64_t, kDocumentTensors> kStrides = {40, 24, 48, 32, 3};

/// doc_start (B T) with a new document at about `share` of the tokens; `starts` gets all beginnings.
Values documents(std::int64_t b, std::int64_t t, double share, std::vector<std::int64_t>& starts) {
  const Random draw(7, Purpose::test, narrow<std::uint64_t>(b * t));
  Values out;
  std::int64_t start = 0;
  for (std::int64_t i = 0; i < b * t; ++i) {
    if (i % t == 0 || draw.uniform(narrow<std::uint64_t>(i)) < share) starts.push_back(start = i);
    out.push_back(static_cast<double>(start % t));
  }
  return out;
}

class Documents : public ::testing::Test {
 protected:
  DocumentTable derive(const Values& doc_start, std::int64_t b, std::int64_t t, std::int64_t capacity) {
    const Tensor memory = bench_.poison(DType::i32, {DocumentTable::bytes(capacity) / 4});
    const DocumentTable table = DocumentTable::at(memory.data, capacity);
    derive_documents(bench_.tensor(DType::i32, {b, t}, doc_start), kStrides, table, *bench_.stream);
    bench_.stream->synchronize();
    return table;
  }
  template <class T>
  std::vector<std::int64_t> read(T* from, std::int64_t count) {
    const std::int64_t words = narrow<std::int64_t>(sizeof(T)) / 4;
    const std::vector<std::uint32_t> bits = bits_of(Tensor::make(from, DType::i32, {count * words}));
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < bits.size(); i += static_cast<std::size_t>(words))
      out.push_back(words == 1 ? bits[i] : std::int64_t{bits[i]} | std::int64_t{bits[i + 1]} << 32);
    return out;
  }
  Bench bench_;
};

TEST_F(Documents, AreCountedInOrder) {
  for (const auto& [b, t] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {1, 7}, {3, 129}, {2, 1024}, {5, 700}})
    for (const double share : {0.0, 0.01, 0.3, 1.0})
      for (const std::int64_t free : {0, 1, 50}) {
        const Arena::Scope scope(bench_.arena);
        std::vector<std::int64_t> starts;
        const Values doc_start = documents(b, t, share, starts);
        const std::int64_t capacity = narrow<std::int64_t>(starts.size()) + free;
        const DocumentTable table = derive(doc_start, b, t, capacity);
        starts.resize(static_cast<std::size_t>(capacity + 1), b * t);
        EXPECT_EQ(read(table.starts, capacity + 1), starts);
        std::vector<std::int64_t> lengths, offsets;
        for (std::size_t i = 1; i < starts.size(); ++i) lengths.push_back(starts[i] - starts[i - 1]);
        EXPECT_EQ(read(table.lengths, capacity), lengths);
        for (std::size_t j = 0; j < kDocumentTensors; ++j) {
          offsets.clear();
          for (const std::int64_t start : starts) offsets.push_back(start * kStrides[j]);
          EXPECT_EQ(read(table.offsets[j], capacity + 1), offsets) << j;
        }
      }
}

TEST_F(Documents, MoreThanTheTableHoldsIsTrouble) {
  EXPECT_THROW(derive({0, 1, 2, 0, 0, 0}, 2, 3, 3), Error);
}

TEST(DocumentTable, FitsItsBytes) {
  for (const std::int64_t capacity : {1, 31, 64, 1000}) {
    const DocumentTable table = DocumentTable::at(nullptr, capacity);
    EXPECT_LE(reinterpret_cast<std::int64_t>(table.lengths + capacity), DocumentTable::bytes(capacity));
  }
}

TEST_F(Documents, StatisticsAreTransposedThereAndBack) {
  const std::int64_t b = 3, t = 129, h = 6;
  const Values values = normal(b * t * h, 1);
  const Tensor stats = bench_.tensor(DType::f32, {b, t, h}, values), lse = bench_.poison(DType::f32, {b, h, t}),
               again = bench_.poison(DType::f32, {b, t, h});
  lse_from_stats(stats, lse, *bench_.stream);
  stats_from_lse(lse, again, *bench_.stream);
  bench_.stream->synchronize();
  const Values transposed = values_of(lse);
  for (std::int64_t i = 0; i < b * t * h; ++i) {
    const std::int64_t row = i / (t * h), token = i / h % t, head = i % h;
    EXPECT_EQ(transposed[static_cast<std::size_t>((row * h + head) * t + token)], values[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(bits_of(again), bits_of(stats));
}

}  // namespace
}  // namespace sherd::cuda
