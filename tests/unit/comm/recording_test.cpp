#include <gtest/gtest.h>

#include "sherd/comm/communicator.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

constexpr auto kGather = static_cast<std::size_t>(Collective::all_gather);
constexpr auto kReduce = static_cast<std::size_t>(Collective::reduce_scatter);
constexpr auto kAllReduce = static_cast<std::size_t>(Collective::all_reduce);
constexpr auto kBroadcast = static_cast<std::size_t>(Collective::broadcast);

/// On a measured arena: touching a byte would be a crash.
class RecordingCommunicator : public ::testing::Test {
 protected:
  cpu::Device device{{cpu::Schedule::in_order, false, true, 1}};
  std::unique_ptr<Stream> stream = device.stream("comm", StreamKind::communication);
  Arena arena = Arena::measure("plan");
};

TEST_F(RecordingCommunicator, CountsWithoutTouching) {
  const auto c = make_recording_communicator("shard", 1, 4);
  const Tensor full = arena.take(DType::bf16, {4096}), shard = arena.take(DType::bf16, {1024});
  const Tensor sum = arena.take(DType::f32, {1024}), norm = arena.take(DType::f32, {1000});
  c->all_gather(shard, full, {"g", 0}, *stream);
  c->all_gather(shard, full, {"g", 0}, *stream);
  c->reduce_scatter(full, sum, 1.0f, {"r", 0}, *stream);
  c->all_reduce(arena.take(DType::f32, {2048}), {"big", 0}, *stream);
  c->all_reduce(norm, {"small", 0}, *stream);
  c->broadcast(norm, 0, {"from another", 0}, *stream);
  const Traffic before = c->traffic();
  EXPECT_EQ(before.row[kGather].calls, 2);
  EXPECT_EQ(before.row[kGather].bytes_sent, 2 * 6144);          // 3 peers x 1024 x 2 bytes
  EXPECT_EQ(before.row[kReduce].bytes_sent, 6144);              // bf16 on the wire
  EXPECT_EQ(before.row[kAllReduce].bytes_sent, 12288 + 12000);  // 2 x 3 x 512 x 4, and 3 x 1000 x 4
  EXPECT_EQ(before.row[kBroadcast].bytes_sent, 0);
  c->broadcast(norm, 1, {"from here", 0}, *stream);
  const Traffic last = c->traffic() - before;
  EXPECT_EQ(last.row[kBroadcast].calls, 1);
  EXPECT_EQ(last.bytes_sent(), 12000);
}

TEST_F(RecordingCommunicator, RefusesWhatTheRunWouldRefuse) {
  const auto c = make_recording_communicator("shard", 0, 3);
  const Tensor t = arena.take(DType::f32, {1025}), i = arena.take(DType::i32, {3});
  EXPECT_THROW(c->all_reduce(t, {}, *stream), Error);  // 1025 = 3 x 341 + 2
  EXPECT_THROW(c->reduce_scatter(i, t.flat(0, 1), 0.0f, {}, *stream), Error);
  EXPECT_THROW(c->reduce_scatter(t.flat(0, 6), t.flat(1, 2), 0.0f, {}, *stream), Error);  // overlaps, not its own part
  EXPECT_NO_THROW(c->reduce_scatter(t.flat(0, 6), t.flat(0, 2), 0.0f, {}, *stream));
  EXPECT_THROW(make_recording_communicator("shard", 3, 3), Error);
}

}  // namespace
}  // namespace sherd
