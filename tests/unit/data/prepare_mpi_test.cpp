// Preparing on any number of ranks gives the same bytes, and a rank's error is everybody's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chess_text.hpp"
#include "corpus_files.hpp"
#include "sherd/data/prepare.hpp"

namespace sherd {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class PrepareOnRanks : public testing::Test {
 protected:
  PrepareOnRanks() {
    const std::string shared = world_->all_gather(directory_.path().string()).front() + "/";  // rank 0's
    config_.inputs = {shared + "a.jsonl", shared + "b.jsonl"};
    config_.output = shared + "corpus.h5";
    config_.tokenizer = shared + "tokenizer.model";
    config_.threads = 1;
    if (world_->rank() == 0) {
      write(config_.inputs[0], 0, 150, -1);
      write(config_.inputs[1], 150, 200, -1);
      config_.train_tokenizer = 400;
      config_.output = shared + "alone.h5";
      prepare(config_, *self_exchange());
      alone_ = test::read_bytes(config_.output);
      config_.output = shared + "corpus.h5";
      config_.train_tokenizer = 0;
    }
    world_->all_gather("");
  }
  ~PrepareOnRanks() override { world_->all_gather(""); }  // nobody removes what others still read

  static void write(const std::string& path, std::uint64_t first, std::uint64_t count, std::int64_t broken) {
    std::string lines;
    for (std::uint64_t i = 0; i < count; ++i) {
      lines += static_cast<std::int64_t>(i) == broken ? "{broken\n" : "{\"text\": \"" + test::game(first + i) + "\"}\n";
    }
    test::write_text(path, lines);
  }

  std::unique_ptr<Exchange> world_ = mpi_exchange(MPI_COMM_WORLD);
  test::TemporaryDirectory directory_;
  PrepareConfig config_;
  std::string alone_;
};

TEST_F(PrepareOnRanks, GivesTheBytesOfOneRank) {
  const PrepareReport report = prepare(config_, *world_);
  EXPECT_EQ(report.documents, 350);
  if (world_->rank() == 0) {
    EXPECT_TRUE(test::read_bytes(config_.output) == alone_);
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
    }
  }
}

TEST_F(PrepareOnRanks, TrainsOneTokenizerForAll) {
  config_.train_tokenizer = 400;
  EXPECT_EQ(prepare(config_, *world_).documents, 350);
  if (world_->rank() == 0) {
    EXPECT_TRUE(test::read_bytes(config_.output) == alone_);
  }
}

TEST_F(PrepareOnRanks, ABrokenLineIsReportedByEveryRank) {
  if (world_->rank() == 0) write(config_.inputs[1], 150, 200, 180);  // in the last rank's share
  world_->all_gather("");
  EXPECT_THAT(test::message_of(ExitCode::bad_input, [&] { prepare(config_, *world_); }),
              AllOf(HasSubstr("b.jsonl:181:"), HasSubstr("--skip-bad-lines")));
  config_.skip_bad_lines = true;
  const PrepareReport report = prepare(config_, *world_);
  EXPECT_EQ(report.bad_lines, 1);
  EXPECT_EQ(report.documents, 349);
}

}  // namespace
}  // namespace sherd
