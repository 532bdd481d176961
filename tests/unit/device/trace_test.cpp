// What CPU streams report to a trace. (cuda_trace_test.cpp has CUDA's.)
#include "sherd/device/trace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {
namespace {

constexpr std::size_t kMany = 1000;

class Traces : public testing::TestWithParam<Schedule> {
 protected:
  void run(Stream& on, const char* op, double milliseconds = 0) {
    enqueue(on, op, {}, [=] { std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds)); });
  }
  std::vector<TraceSlice> taken() {
    compute->synchronize();
    comm->synchronize();
    std::vector<TraceSlice> slices = device.trace().take();
    std::sort(slices.begin(), slices.end(),
              [](const TraceSlice& a, const TraceSlice& b) { return a.sequence < b.sequence; });
    return slices;
  }
  static std::string text(const std::vector<TraceSlice>& slices) {
    std::string all;
    for (const TraceSlice& slice : slices) all += std::string(all.empty() ? "" : ", ") + slice.op;
    return all;
  }

  Device device{{GetParam()}};
  const std::unique_ptr<Stream> compute = device.stream("compute", StreamKind::compute),
                                comm = device.stream("comm", StreamKind::communication);
};
INSTANTIATE_TEST_SUITE_P(Schedules, Traces,
                         testing::Values(Schedule::threaded, Schedule::in_order, Schedule::first_stream_first,
                                         Schedule::last_stream_first, Schedule::alternating));

TEST_P(Traces, HaveWhatIsEnqueuedWhileTheyAreOn) {
  run(*compute, "before");
  device.trace().start(kMany);
  run(*compute, "one");
  device.trace().pause();
  run(*compute, "paused");
  device.trace().resume();
  run(*comm, "two");
  compute->mark("here");
  device.trace().pause();
  run(*compute, "after");
  EXPECT_EQ(text(taken()), "one, two, here");
  EXPECT_EQ(text(taken()), "");
  device.trace().start(kMany);
  run(*compute, "again");
  EXPECT_EQ(text(taken()), "again");
}

TEST_P(Traces, NameTheRangesTheStepAndTheStream) {
  device.trace().start(kMany);
  device.trace().set_step(7);
  const StreamRange phase(*compute, "backward");
  {
    const StreamRange unit(*compute, "model.layers.3");
    run(*compute, "linear");
    const StreamRange gather(*comm, "gather model.layers.2", 512);
    run(*comm, "all_gather");
  }
  device.trace().set_step(8);
  run(*compute, "fill");
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 3u);
  const auto ranges = [&](std::size_t i) {
    std::string all;
    for (std::size_t k = 0; k < slices[i].ranges; ++k) all += std::string("/") + slices[i].range[k].name;
    return all;
  };
  EXPECT_EQ(ranges(0), "/backward/model.layers.3");
  EXPECT_EQ(ranges(1), "/backward/model.layers.3/gather model.layers.2");
  EXPECT_EQ(slices[1].range[2].bytes, 512);
  EXPECT_EQ(slices[1].range[1].bytes, 0);
  EXPECT_EQ(ranges(2), "/backward");
  EXPECT_EQ(slices[0].step, 7);
  EXPECT_EQ(slices[2].step, 8);
  const auto& streams = device.trace().streams();
  const auto stream = [&](std::size_t i) { return streams.at(static_cast<std::size_t>(slices[i].stream)); };
  EXPECT_EQ(stream(0).name, "compute");
  EXPECT_TRUE(stream(0).computes);
  EXPECT_EQ(stream(1).name, "comm");
  EXPECT_FALSE(stream(1).computes);
}

TEST_P(Traces, KeepTheOutermostOfDeepRanges) {
  device.trace().start(kMany);
  for (int i = 0; i < 20; ++i) compute->enter(i == 0 ? "outermost" : "inner");
  run(*compute, "deep");
  for (int i = 0; i < 20; ++i) compute->leave();
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(slices[0].ranges, TraceSlice::kRanges);
  EXPECT_STREQ(slices[0].range[0].name, "outermost");
}

TEST_P(Traces, TimeTheWork) {
  device.trace().start(kMany);
  run(*compute, "long", 20);
  run(*compute, "short");
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_GE(slices[0].begin, 0);
  EXPECT_GE(slices[0].end - slices[0].begin, 0.02);
  EXPECT_LE(slices[0].end, slices[1].begin);
  EXPECT_LE(slices[1].begin, slices[1].end);
  EXPECT_LE(slices[1].end, device.trace().now());
}

TEST_P(Traces, CountWhatTheyHaveNoRoomFor) {
  device.trace().start(3);
  for (int i = 0; i < 5; ++i) run(*compute, "work");
  EXPECT_EQ(taken().size(), 3u);
  EXPECT_EQ(device.trace().opened(), 3u);
  EXPECT_EQ(device.trace().dropped(), 2u);
}

TEST(Trace, HasTheWaitsThatWait) {
  Device device;
  const auto compute = device.stream("compute", StreamKind::compute),
             comm = device.stream("comm", StreamKind::communication);
  const auto sent = device.event("sent"), done = device.event("done");
  device.trace().start(kMany);
  enqueue(*comm, "all_gather", {}, [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
  comm->record(*sent);
  compute->wait(*sent);
  enqueue(*compute, "linear", {}, [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
  compute->record(*done);
  comm->wait(*done);
  comm->synchronize();
  compute->wait(*sent);  // has passed
  compute->synchronize();
  std::vector<TraceSlice> slices = device.trace().take();
  std::sort(slices.begin(), slices.end(),
            [](const TraceSlice& a, const TraceSlice& b) { return a.sequence < b.sequence; });
  ASSERT_EQ(slices.size(), 4u);
  EXPECT_STREQ(slices[1].op, Trace::kWaitsForCommunication);
  EXPECT_GT(slices[1].end - slices[1].begin, 0.01);
  EXPECT_STREQ(slices[3].op, Trace::kWaitsForComputation);
  EXPECT_GT(slices[3].end - slices[3].begin, 0.01);
  EXPECT_LE(slices[1].end, slices[2].begin);
}

TEST(Trace, CostsNothingThatStaysWhenItIsOff) {
  Device device;
  const auto compute = device.stream("compute", StreamKind::compute);
  for (int i = 0; i < 10; ++i) enqueue(*compute, "work", {}, [] {});
  compute->mark("nothing");
  compute->synchronize();
  EXPECT_TRUE(device.trace().take().empty());
  EXPECT_EQ(device.trace().opened(), 0u);
  EXPECT_TRUE(device.trace().streams().empty());
}

}  // namespace
}  // namespace sherd::cpu
