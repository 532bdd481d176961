// What a step tells people and programs.
#include "sherd/train/metrics.hpp"

#include <gtest/gtest.h>

#include "sherd/base/error.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

StepReport some_report() {
  StepReport r;
  r.step = 12;
  r.total_steps = 200;
  r.loss = 3.21404999;
  r.learning_rate = 1.25e-4;
  r.grad_norm = 1.2345678;
  r.tokens = 4096;
  r.seconds = 0.5;
  r.tokens_per_second = 8192.4;
  r.mfu = 0.4123;
  r.speed_of_light = 0.5567;
  r.memory_gib = 0.519;
  r.data_wait_seconds = 0.001;
  r.comm_wait_seconds = 0.116;
  r.seconds_left = 151;
  r.shard.row[static_cast<std::size_t>(Collective::all_gather)] = {4, 83968};
  r.shard.row[static_cast<std::size_t>(Collective::reduce_scatter)] = {8, 167936};
  r.world.row[static_cast<std::size_t>(Collective::all_reduce)] = {2, 36};
  return r;
}

TEST(NeedsLine, SaysAtWhichRatesAStepIsCounted) {
  StepNeeds needs;
  needs.needed = {{"linear", {2, 4e12, 0}}, {"swiglu", {2, 0, 6e9}}};
  needs.rates = {8e12, 3e9};
  EXPECT_EQ(needs_line(needs),
            "a step needs 4 TFLOP and 6 GB of memory traffic per rank: 2.5 s at the 8 TFLOP/s and 3 GB/s that were "
            "measured (SOL 100%)");
}

TEST(NeedsLine, CountsEightBitsAtTheirOwnRate) {
  StepNeeds needs;
  needs.needed = {{"linear", {2, 1e12, 0}}, {"linear_f8", {2, 3e12, 0}}, {"swiglu", {2, 0, 6e9}}};
  needs.rates = {4e12, 3e9, 12e12};
  EXPECT_EQ(needs_line(needs),
            "a step needs 4 TFLOP, 3 of them in eight bits, and 6 GB of memory traffic per rank: 2.5 s at the 4 "
            "TFLOP/s, 12 in eight bits, and 3 GB/s that were measured (SOL 100%)");
}

TEST(ClockText, HasHoursOnlyWhenThereAreSome) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(59.4), "0:59");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(151), "2:31");
  EXPECT_EQ(clock_text(3599.6), "1:00:00");
  EXPECT_EQ(clock_text(3723), "1:02:03");
  EXPECT_EQ(clock_text(360000), "100:00:00");
  EXPECT_EQ(clock_text(-5), "0:00");
}

TEST(LogLine, TellsAStepInOneLine) {
  EXPECT_EQ(log_line(some_report()),
            "step 12/200  loss 3.2140  lr 1.25e-04  norm 1.235  8192 tok/s  MFU 41.2%  SOL 55.7%  mem 0.52 GiB  data "
            "0.00 s  comm "
            "0.12 s  left 2:31");
}

TEST(JsonLine, HoldsEveryNumber) {
  const std::string line = json_line(some_report());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const JsonDocument document = JsonDocument::parse(line, "the line");
  const JsonValue root = document.root();
  EXPECT_EQ(root.at("step").integer(), 12);
  EXPECT_EQ(root.at("total_steps").integer(), 200);
  EXPECT_NEAR(root.at("loss").number(), 3.21404999, 1e-6);
  EXPECT_EQ(root.at("learning_rate").number(), 1.25e-4);
  EXPECT_NEAR(root.at("grad_norm").number(), 1.2345678, 1e-6);
  EXPECT_EQ(root.at("tokens").integer(), 4096);
  EXPECT_EQ(root.at("seconds").number(), 0.5);
  EXPECT_EQ(root.at("tokens_per_second").number(), 8192.4);
  EXPECT_EQ(root.at("mfu").number(), 0.4123);
  EXPECT_EQ(root.at("speed_of_light").number(), 0.5567);
  EXPECT_EQ(root.at("memory_gib").number(), 0.519);
  EXPECT_EQ(root.at("data_wait_seconds").number(), 0.001);
  EXPECT_EQ(root.at("comm_wait_seconds").number(), 0.116);
  EXPECT_EQ(root.at("seconds_left").number(), 151);
  EXPECT_EQ(root.size(), 15u);
}

TEST(JsonLine, CountsBytesByAxisAndCollective) {
  const JsonDocument document = JsonDocument::parse(json_line(some_report()), "the line");
  const JsonValue sent = document.root().at("sent");
  EXPECT_EQ(sent.keys(), (std::vector<std::string>{"replicate", "shard", "world"}));
  EXPECT_EQ(sent.at("shard").keys(), (std::vector<std::string>{"all_gather", "reduce_scatter"}));
  EXPECT_EQ(sent.at("shard").at("all_gather").at("calls").integer(), 4);
  EXPECT_EQ(sent.at("shard").at("all_gather").at("bytes").integer(), 83968);
  EXPECT_EQ(sent.at("shard").at("reduce_scatter").at("bytes").integer(), 167936);
  EXPECT_EQ(sent.at("world").at("all_reduce").at("bytes").integer(), 36);
  EXPECT_EQ(sent.at("replicate").size(), 0u);
}

TEST(MetricsFile, KeepsWhatARunBeforeWrote) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "metrics.jsonl";
  MetricsFile(path).write("{\"step\":1}");
  MetricsFile again(path);
  again.write("{\"step\":2}");
  EXPECT_EQ(read_text(path, 100), "{\"step\":1}\n{\"step\":2}\n");  // while `again` is still open
}

TEST(MetricsFile, SaysWhyItCannotBeWritten) {
  EXPECT_BAD_INPUT(MetricsFile("/proc/no/such/place"), "/proc/no/such/place cannot be written");
  const std::string full = message_of(ExitCode::does_not_fit, [] { MetricsFile("/dev/full").write("{}"); });
  EXPECT_NE(full.find("/dev/full: a line could not be written (No space left on device)"), std::string::npos) << full;
}

}  // namespace
}  // namespace sherd
