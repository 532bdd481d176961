#include "sherd/data/loader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "corpus_files.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/data/order.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kLength = 16;
using Rows = std::vector<std::vector<std::int32_t>>;  // tokens, targets and doc_start of one sequence, end to end

Rows rows_of(const HostBatch& batch) {
  Rows rows;
  for (std::int64_t b = 0; b < batch.batch; ++b) {
    std::vector<std::int32_t> row;
    for (const auto* part : {&batch.tokens, &batch.targets, &batch.doc_start}) {
      row.insert(row.end(), part->begin() + b * batch.length, part->begin() + (b + 1) * batch.length);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    const Random random(5, Purpose::test, 0);
    std::vector<std::vector<std::uint16_t>> documents(400);
    std::uint16_t token = 1;
    for (std::size_t d = 0; d < documents.size(); ++d) {
      documents[d].resize(2 + random.bits(d) % 20);
      for (auto& t : documents[d]) t = token++;
    }
    test::write_corpus(directory_ / "corpus.h5", documents, 0.2);
    corpus_.emplace(directory_ / "corpus.h5");
    train_ = make_bins(*corpus_, Split::train, kLength, Packing::packed);
    eval_ = make_bins(*corpus_, Split::eval, kLength, Packing::packed);
  }

  /// The sequences of `steps` global batches of 36, each sorted, as `world` ranks together see them.
  std::vector<Rows> global_batches(std::int64_t world, std::int64_t accumulation, std::int64_t first_step,
                                   std::int64_t steps) {
    std::vector<Rows> batches(static_cast<std::size_t>(steps));
    for (std::int64_t rank = 0; rank < world; ++rank) {
      Loader loader = Loader::training(*corpus_, train_,
                                       {.seed = 9,
                                        .batch = 36 / world / accumulation,
                                        .rank = rank,
                                        .world = world,
                                        .accumulation = accumulation,
                                        .first_step = first_step});
      for (Rows& batch : batches) {
        for (std::int64_t micro = 0; micro < accumulation; ++micro) {
          const Rows rows = rows_of(loader.next());
          batch.insert(batch.end(), rows.begin(), rows.end());
        }
      }
    }
    for (Rows& batch : batches) std::sort(batch.begin(), batch.end());
    return batches;
  }

  test::TemporaryDirectory directory_;
  std::optional<Corpus> corpus_;
  BinTable train_, eval_;
};

TEST_F(LoaderTest, GlobalBatchesAreTheSameForEveryWorldSizeAndAccumulation) {
  const std::int64_t steps = 2 * (train_.size() / 36) + 3;  // into the third epoch
  const std::vector<Rows> expected = global_batches(1, 1, 0, steps);
  EXPECT_NE(expected[0], expected[1]);
  for (const std::int64_t world : {1, 2, 3, 4}) {
    for (const std::int64_t accumulation : {1, 3})
      EXPECT_TRUE(global_batches(world, accumulation, 0, steps) == expected);
  }
}

TEST_F(LoaderTest, StartsAtAnyStep) {
  const std::vector<Rows> all = global_batches(2, 1, 0, 14), late = global_batches(2, 1, 5, 9);
  EXPECT_TRUE(std::equal(late.begin(), late.end(), all.begin() + 5));
}

TEST_F(LoaderTest, AnEpochHasEverySequenceAtMostOnce) {
  Loader loader = Loader::training(*corpus_, train_, {.batch = 12});
  Rows rows;
  for (std::int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
    for (auto& row : rows_of(loader.next())) rows.push_back(std::move(row));
  }
  EXPECT_EQ(static_cast<std::int64_t>(rows.size()), train_.size() / 12 * 12);
  std::sort(rows.begin(), rows.end());
  EXPECT_EQ(std::adjacent_find(rows.begin(), rows.end()), rows.end());
}

TEST_F(LoaderTest, CountsValidTargetsAndKeepsTheBatchUntilTheNextCall) {
  Loader loader = Loader::training(*corpus_, train_, {.batch = 3});
  for (int i = 0; i < 50; ++i) {
    const HostBatch& batch = loader.next();
    const HostBatch copy = batch;
    EXPECT_EQ(batch.valid, std::count_if(batch.targets.begin(), batch.targets.end(), [](auto t) { return t >= 0; }));
    EXPECT_EQ(rows_of(batch), rows_of(copy));
  }
  EXPECT_GE(loader.seconds_waited(), 0);
}

TEST_F(LoaderTest, AStepIsItsMicroBatchesAndTheNextOnesAreReadMeanwhile) {
  const LoaderOptions options{.batch = 2, .accumulation = 5};
  Loader whole = Loader::training(*corpus_, train_, options), single = Loader::training(*corpus_, train_, options);
  for (int step = 0; step < 12; ++step) {
    const std::span<const HostBatch> batches = whole.next_step();
    ASSERT_EQ(batches.size(), 5u);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // for the reader to spoil them, if it did
    for (const HostBatch& batch : batches) EXPECT_EQ(rows_of(batch), rows_of(single.next()));
  }
}

TEST_F(LoaderTest, EvaluationSeesEveryHeldOutTargetOnceOnAnyWorldSize) {
  for (const std::int64_t world : {1, 2, 3}) {
    std::vector<std::int32_t> targets;
    for (std::int64_t rank = 0; rank < world; ++rank) {
      Loader loader = Loader::evaluation(*corpus_, eval_, {.batch = 5, .rank = rank, .world = world}, 1000);
      EXPECT_EQ(loader.steps(), (eval_.size() + 5 * world - 1) / (5 * world));
      for (std::int64_t step = 0; step < loader.steps(); ++step) {
        for (const std::int32_t target : loader.next().targets) {
          if (target >= 0) targets.push_back(target);
        }
      }
      EXPECT_THROW(loader.next(), Error);
    }
    EXPECT_EQ(static_cast<std::int64_t>(targets.size()), eval_.counts().positions);
    std::sort(targets.begin(), targets.end());
    EXPECT_EQ(std::adjacent_find(targets.begin(), targets.end()),
              targets.end());  // every token of this corpus is unique
  }
  EXPECT_EQ(Loader::evaluation(*corpus_, eval_, {.batch = 5}, 2).steps(), 2);
  EXPECT_EQ(Loader::evaluation(*corpus_, BinTable(), {.batch = 5}, 2).steps(), 0);
}

TEST_F(LoaderTest, EndsCleanlyWhileReadingAhead) {
  for (int i = 0; i < 20; ++i) {
    Loader loader = Loader::training(*corpus_, train_, {.batch = 3});
    for (int k = 0; k < i % 4; ++k) loader.next();
  }
}

TEST_F(LoaderTest, PassesOnWhatGoesWrongInItsThread) {
  test::write_corpus(directory_ / "damaged.h5", {std::vector<std::uint16_t>(1000, 200)}, 0, 201);
  std::string bytes = test::read_bytes(directory_ / "damaged.h5");
  const Corpus corpus(directory_ / "damaged.h5");
  const BinTable bins = make_bins(corpus, Split::train, kLength, Packing::packed);
  const std::size_t at = bytes.find(std::string("\xC8\0\xC8\0\xC8\0\xC8\0", 8));
  ASSERT_NE(at, std::string::npos);
  for (std::size_t i = 0; i < 1000; ++i) bytes[at + 2 * i] = '\xFF';  // token 255 of 201, everywhere
  std::fstream(directory_ / "damaged.h5", std::ios::in | std::ios::out | std::ios::binary) << bytes;
  Loader loader = Loader::training(corpus, bins, {.batch = 2});
  const std::string message = test::message_of(ExitCode::bad_input, [&] { loader.next(); });
  EXPECT_THAT(message, testing::HasSubstr("token 255"));
}

TEST_F(LoaderTest, RefusesACorpusSmallerThanAGlobalBatch) {
  EXPECT_THAT(test::message_of(ExitCode::bad_input, [&] { Loader::training(*corpus_, train_, {.batch = 100000}); }),
              testing::HasSubstr("100000"));
}

}  // namespace
}  // namespace sherd
