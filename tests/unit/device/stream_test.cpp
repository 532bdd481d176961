#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {
namespace {

class Streams : public testing::TestWithParam<Schedule> {};
INSTANTIATE_TEST_SUITE_P(Schedules, Streams,
                         testing::Values(Schedule::threaded, Schedule::in_order, Schedule::first_stream_first,
                                         Schedule::last_stream_first, Schedule::alternating));

TEST_P(Streams, AreQueues) {
  Device device({GetParam()});
  const auto s = device.stream("s", StreamKind::compute);
  std::string order;
  for (char c = 'a'; c <= 'e'; ++c) enqueue(*s, "append", {}, [&order, c] { order += c; });
  s->synchronize();
  EXPECT_EQ(order, "abcde");
}

TEST_P(Streams, EventsOrderTwoStreams) {
  Device device({GetParam()});
  const auto a = device.stream("a", StreamKind::compute), b = device.stream("b", StreamKind::communication);
  const auto ready = device.event("ready"), back = device.event("back");
  int value = 0;
  for (int round = 1; round <= 20; ++round) {
    enqueue(*a, "write", {}, [&value] { ++value; });
    a->record(*ready);
    b->wait(*ready);
    enqueue(*b, "double", {}, [&value] { value *= 2; });
    b->record(*back);
    a->wait(*back);
  }
  a->synchronize();
  int expected = 0;
  for (int round = 1; round <= 20; ++round) expected = (expected + 1) * 2;
  EXPECT_EQ(value, expected);
}

TEST_P(Streams, AWaitOnAnUnrecordedEventDoesNotBlock) {
  Device device({GetParam()});
  const auto s = device.stream("s", StreamKind::compute);
  const auto never = device.event("never");
  bool ran = false;
  s->wait(*never);
  enqueue(*s, "run", {}, [&ran] { ran = true; });
  s->synchronize();
  EXPECT_TRUE(ran);
}

TEST_P(Streams, AnErrorSkipsWhatFollowsAndReachesTheHost) {
  Device device({GetParam()});
  const auto a = device.stream("a", StreamKind::compute), b = device.stream("b", StreamKind::communication);
  const auto ready = device.event("ready");
  std::atomic<bool> ran = false;
  enqueue(*a, "fail", {}, [] { throw bad_input("broken {}", 7); });
  a->record(*ready);
  b->wait(*ready);
  enqueue(*b, "after", {}, [&ran] { ran = true; });
  EXPECT_THROW(b->synchronize(), Error);
  EXPECT_FALSE(ran);
}

TEST(Parallel, CoversEveryIndexOnceForAnyThreadCount) {
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    std::vector<int> seen(1003);
    parallel_for(1003, 10, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    EXPECT_EQ(seen, std::vector<int>(1003, 1));
    EXPECT_THROW(parallel_for(100, 1, [](std::int64_t, std::int64_t) { throw bad_input("inside"); }), Error);
  }
  set_threads(1);
}

}  // namespace
}  // namespace sherd::cpu
