#include "sherd/data/packing.hpp"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "sherd/base/error.hpp"
#include "sherd/base/rng.hpp"

namespace sherd {
namespace {

BinTable pack(const std::vector<std::int64_t>& lengths, std::int64_t length, Packing packing = Packing::packed) {
  BinBuilder builder(length, packing);
  std::int64_t first = 0;
  for (const std::int64_t tokens : lengths) {
    builder.add(first, tokens);
    first += tokens;
  }
  return builder.finish();
}

/// Token i of the corpus is i + 1000, so that every token tells where it came from.
constexpr std::int32_t kFirst = 1000;
void read(std::int64_t first, std::span<std::int32_t> out) {
  std::iota(out.begin(), out.end(), static_cast<std::int32_t>(first) + kFirst);
}

HostBatch batch_of(const BinTable& table, std::int64_t bin) {
  HostBatch batch(1, table.length());
  std::vector<std::int32_t> scratch(static_cast<std::size_t>(table.length()) + 1);
  fill_row(batch, 0, table.bin(bin), read, scratch);
  return batch;
}

/// Checks rows against the definition: positions of documents, each pair once. Returns how often each pair occurred.
std::map<std::int32_t, int> pairs_of(const BinTable& table) {
  std::map<std::int32_t, int> seen;  // by input token; its target must be the next token
  for (std::int64_t i = 0; i < table.size(); ++i) {
    const HostBatch batch = batch_of(table, i);
    for (std::size_t p = 0; p < batch.tokens.size(); ++p) {
      if (batch.targets[p] < 0) continue;
      EXPECT_EQ(batch.targets[p], batch.tokens[p] + 1);
      ++seen[batch.tokens[p]];
    }
  }
  return seen;
}

std::vector<std::int64_t> random_lengths(std::int64_t count, std::int64_t most) {
  const Random random(3, Purpose::test, 0);
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < count; ++i) {
    lengths.push_back(
        static_cast<std::int64_t>(random.uniform(static_cast<std::uint64_t>(i)) * static_cast<double>(most)));
  }
  return lengths;
}

TEST(Packing, HandExample) {
  // T = 6. Positions: 3, 2, 5, 1. The piece of 3 opens bin 0; 2 goes there (1 left); 5 opens bin 1 (1 left); 1 fills
  // the older of the two bins with one position left.
  const BinTable table = pack({4, 3, 6, 2}, 6);
  ASSERT_EQ(table.size(), 2);
  const HostBatch first = batch_of(table, 0), second = batch_of(table, 1);
  EXPECT_EQ(first.tokens, (std::vector<std::int32_t>{1000, 1001, 1002, 1004, 1005, 1013}));
  EXPECT_EQ(first.targets, (std::vector<std::int32_t>{1001, 1002, 1003, 1005, 1006, 1014}));
  EXPECT_EQ(first.doc_start, (std::vector<std::int32_t>{0, 0, 0, 3, 3, 5}));
  EXPECT_EQ(second.tokens, (std::vector<std::int32_t>{1007, 1008, 1009, 1010, 1011, 0}));
  EXPECT_EQ(second.targets, (std::vector<std::int32_t>{1008, 1009, 1010, 1011, 1012, -1}));
  EXPECT_EQ(second.doc_start, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 5}));
  EXPECT_DOUBLE_EQ(table.fill(), 11.0 / 12.0);
}

TEST(Packing, EveryTargetOccursExactlyOnceWhateverTheLength) {
  const std::vector<std::int64_t> lengths = random_lengths(300, 100);
  for (const std::int64_t length : {2, 3, 16, 50, 99, 100, 512}) {
    std::map<std::int32_t, int> expected;
    std::int32_t token = kFirst;
    for (const std::int64_t tokens : lengths) {
      for (std::int64_t i = 0; i < tokens; ++i, ++token) {
        if (i + 1 < tokens) expected[token] = 1;
      }
    }
    EXPECT_EQ(pairs_of(pack(lengths, length)), expected) << length;
  }
}

TEST(Packing, SplitsADocumentLongerThanASequenceAndCountsIt) {
  const BinTable exact = pack({9}, 8);  // 8 positions: fits
  EXPECT_EQ(exact.size(), 1);
  EXPECT_EQ(exact.counts().split, 0);
  const BinTable table = pack({10}, 8);  // 9 positions
  EXPECT_EQ(table.size(), 2);
  EXPECT_EQ(table.counts().split, 1);
  EXPECT_EQ(table.counts().positions, 9);
  EXPECT_EQ(batch_of(table, 1).tokens[0], kFirst + 8);
  EXPECT_EQ(batch_of(table, 1).targets[0], kFirst + 9);
}

TEST(Packing, LeavesOutDocumentsWithNothingToPredict) {
  const BinTable table = pack({0, 1, 2}, 8);
  EXPECT_EQ(table.size(), 1);
  EXPECT_EQ(table.counts().too_short, 2);
  EXPECT_EQ(table.counts().documents, 3);
}

TEST(Packing, FillsBinsWell) {
  EXPECT_GT(pack(random_lengths(20000, 230), 512).fill(), 0.98);
  EXPECT_GT(pack(random_lengths(20000, 230), 1024).fill(), 0.98);
}

TEST(Packing, KnowsTheMostDocumentsOfARow) {
  EXPECT_EQ(pack({4, 3, 6, 2}, 6).most_documents(), 3);
  EXPECT_EQ(pack({7, 7}, 6).most_documents(), 1);
  EXPECT_EQ(pack({}, 6).most_documents(), 1);  // rows of no bin, as an evaluation's last batch may have
  EXPECT_EQ(pack({7, 6}, 6).most_documents(), 2) << "unused positions are a document of their own";
  for (const Packing packing : {Packing::packed, Packing::padded}) {
    const BinTable table = pack(random_lengths(200, 90), 64, packing);
    std::int64_t most = 0;
    for (std::int64_t i = 0; i < table.size(); ++i) {
      const HostBatch batch = batch_of(table, i);
      std::int64_t documents = 0;
      for (std::size_t p = 0; p < batch.doc_start.size(); ++p)
        documents += batch.doc_start[p] == static_cast<std::int32_t>(p);
      most = std::max(most, documents);
    }
    EXPECT_EQ(table.most_documents(), most);
  }
}

TEST(Packing, KeepsThePiecesOfABinInCorpusOrderAndWithinT) {
  const BinTable table = pack(random_lengths(2000, 100), 128);
  for (std::int64_t i = 0; i < table.size(); ++i) {
    std::int64_t positions = 0, last = -1;
    for (const Piece& piece : table.bin(i)) {
      EXPECT_GT(piece.first_token, last);
      last = piece.first_token;
      positions += piece.length;
    }
    EXPECT_LE(positions, 128);
    EXPECT_GT(positions, 0);
  }
}

TEST(Padding, OneDocumentPerSequenceCutAsTheReferenceDoes) {
  const BinTable table = pack({3, 1, 4, 9}, 4, Packing::padded);
  ASSERT_EQ(table.size(), 3);
  EXPECT_EQ(table.counts().cut, 1);
  EXPECT_EQ(table.counts().too_short, 1);
  EXPECT_EQ(batch_of(table, 0).tokens, (std::vector<std::int32_t>{1000, 1001, 0, 0}));
  EXPECT_EQ(batch_of(table, 0).targets, (std::vector<std::int32_t>{1001, 1002, -1, -1}));
  EXPECT_EQ(batch_of(table, 1).targets, (std::vector<std::int32_t>{1005, 1006, 1007, -1}));
  EXPECT_EQ(batch_of(table, 2).targets, (std::vector<std::int32_t>{1009, 1010, 1011, -1}));  // 4 tokens, 3 targets
}

TEST(Packing, RefusesASequenceOfOneToken) {
  EXPECT_THROW(BinBuilder(1, Packing::packed), Error);
}

TEST(Packing, OverwritesWhatABufferHeldBefore) {
  const BinTable table = pack({3}, 4);
  HostBatch batch(2, 4);
  std::fill(batch.tokens.begin(), batch.tokens.end(), 7);
  std::fill(batch.targets.begin(), batch.targets.end(), 7);
  std::fill(batch.doc_start.begin(), batch.doc_start.end(), 7);
  std::vector<std::int32_t> scratch(5);
  fill_row(batch, 1, table.bin(0), read, scratch);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{7, 7, 7, 7, 1000, 1001, 0, 0}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{7, 7, 7, 7, 1001, 1002, -1, -1}));
  EXPECT_EQ(batch.doc_start, (std::vector<std::int32_t>{7, 7, 7, 7, 0, 0, 2, 2}));
}

}  // namespace
}  // namespace sherd
