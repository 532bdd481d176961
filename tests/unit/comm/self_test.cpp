#include <gtest/gtest.h>

#include <vector>

#include "sherd/comm/communicator.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

/// Held back until synchronize(), with the checker on: what is enqueued must carry its accesses.
class SelfCommunicator : public ::testing::Test {
 protected:
  cpu::Device device{{cpu::Schedule::first_stream_first, true, false, 1}};
  std::unique_ptr<Stream> stream = device.stream("comm", StreamKind::communication);
  std::unique_ptr<Communicator> self = make_self_communicator("shard");
  static Tensor f32(std::vector<float>& v) {
    return Tensor::make(v.data(), DType::f32, {static_cast<std::int64_t>(v.size())});
  }
};

TEST_F(SelfCommunicator, GathersByCopyOrNotAtAll) {
  std::vector<float> a = {1, 2, 3}, b(3);
  self->all_gather(f32(a), f32(b), {"gather", 0}, *stream);
  self->all_gather(f32(a), f32(a), {"gather", 0}, *stream);
  stream->synchronize();
  EXPECT_EQ(b, a);
}

TEST_F(SelfCommunicator, ReducesWithBetaFromBothWireTypes) {
  std::vector<float> wide = {1.5f, -2.0f, 4.0f}, sum = {10, 20, 30};
  std::vector<bf16> narrow = {bf16(0.5f), bf16(3.0f), bf16(-1.0f)};
  const Tensor wire = Tensor::make(narrow.data(), DType::bf16, {3});
  self->reduce_scatter(f32(wide), f32(sum), 1.0f, {"reduce", 0}, *stream);
  stream->synchronize();
  EXPECT_EQ(sum, (std::vector<float>{11.5f, 18, 34}));
  self->reduce_scatter(wire, f32(sum), 1.0f, {"reduce", 0}, *stream);
  stream->synchronize();
  EXPECT_EQ(sum, (std::vector<float>{12, 21, 33}));
  self->reduce_scatter(wire, f32(sum), 0.0f, {"reduce", 0}, *stream);
  stream->synchronize();
  EXPECT_EQ(sum, (std::vector<float>{0.5f, 3, -1}));
}

TEST_F(SelfCommunicator, KeepsWhatIsAlreadyThere) {
  std::vector<float> a = {1, 2, 3};
  self->all_reduce(f32(a), {"norm", 0}, *stream);
  self->broadcast(f32(a), 0, {"seed", 0}, *stream);
  self->reduce_scatter(f32(a), f32(a), 0.0f, {"reduce", 0}, *stream);
  self->barrier({"end", 0}, *stream);
  stream->synchronize();
  EXPECT_EQ(a, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(self->traffic().bytes_sent(), 0);
  EXPECT_EQ(self->traffic().row[static_cast<int>(Collective::all_gather)].calls, 0);
  for (int c = 1; c < kCollectives; ++c) EXPECT_EQ(self->traffic().row[static_cast<std::size_t>(c)].calls, 1);
  EXPECT_EQ(self->axis(), "shard");
}

TEST_F(SelfCommunicator, DeclaresWhatItTouches) {
  std::vector<float> a = {1, 2, 3}, b(3);
  const auto other = device.stream("compute", StreamKind::compute);
  self->all_gather(f32(a), f32(b), {"gather", 0}, *stream);
  EXPECT_THROW(cpu::enqueue(*other, "reader", cpu::access({f32(b)}, {}), [] {}), Error);
  EXPECT_THROW(cpu::enqueue(*other, "writer", cpu::access({}, {f32(a)}), [] {}), Error);
  EXPECT_NO_THROW(cpu::enqueue(*other, "second reader", cpu::access({f32(a)}, {}), [] {}));
}

TEST_F(SelfCommunicator, RefusesWhatDoesNotFit) {
  std::vector<float> a(4), b(3);
  EXPECT_THROW(self->all_gather(f32(a), f32(b), {}, *stream), Error);
  EXPECT_THROW(self->reduce_scatter(f32(a), f32(b), 0.0f, {}, *stream), Error);
  EXPECT_THROW(self->reduce_scatter(f32(a), f32(a).flat(0, 4), 0.5f, {}, *stream), Error);
  EXPECT_THROW(self->broadcast(f32(a), 1, {}, *stream), Error);
}

}  // namespace
}  // namespace sherd
