#include <gtest/gtest.h>

#include "sherd/device/cpu/device.hpp"

namespace sherd::cpu {
namespace {

struct Hazard : testing::Test {
  Device device{{Schedule::in_order, true}};
  std::unique_ptr<sherd::Stream> a = device.stream("a", StreamKind::compute),
                                 b = device.stream("b", StreamKind::communication);
  std::unique_ptr<sherd::Event> e = device.event("e");
  Arena arena = device.arena("arena", 4096);
  Tensor x = arena.take(DType::f32, {16}), y = arena.take(DType::f32, {16});
  void touch(sherd::Stream& s, std::initializer_list<Tensor> reads, std::initializer_list<Tensor> writes) {
    enqueue(s, "touch", access(reads, writes), [] {});
  }
};

TEST_F(Hazard, WriteThenReadWithoutWait) {
  touch(*a, {}, {x});
  EXPECT_THROW(touch(*b, {x}, {}), Error);
}

TEST_F(Hazard, ReadThenWriteWithoutWait) {
  touch(*a, {x}, {});
  EXPECT_THROW(touch(*b, {}, {x}), Error);
}

TEST_F(Hazard, TwoReadsAndDisjointWritesAreFine) {
  touch(*a, {x}, {y.flat(0, 8)});
  touch(*b, {x}, {y.flat(8, 8)});
}

TEST_F(Hazard, AnEventOrders) {
  touch(*a, {}, {x});
  a->record(*e);
  b->wait(*e);
  touch(*b, {x}, {});
}

TEST_F(Hazard, AnEventRecordedTooEarlyDoesNot) {
  a->record(*e);
  touch(*a, {}, {x});
  b->wait(*e);
  EXPECT_THROW(touch(*b, {x}, {}), Error);
}

TEST_F(Hazard, OrderIsTransitive) {
  const auto c = device.stream("c", StreamKind::compute);
  const auto f = device.event("f");
  touch(*a, {}, {x});
  a->record(*e);
  b->wait(*e);
  b->record(*f);
  c->wait(*f);
  touch(*c, {x}, {});
}

TEST_F(Hazard, TheHostOrdersBySynchronizing) {
  touch(*a, {}, {x});
  EXPECT_THROW(device.host_access("read", Access().read(x)), Error);
  a->synchronize();
  device.host_access("read", Access().read(x));
  touch(*b, {}, {x});
}

TEST_F(Hazard, ALeftOutWaitIsFound) {
  const auto run = [&] {
    touch(*a, {}, {x});
    a->record(*e);
    b->wait(*e);
    touch(*b, {x}, {});
    b->synchronize();
  };
  run();
  ASSERT_EQ(device.wait_sites().size(), 1u);
  device.ignore_waits_at(*device.wait_sites().begin());
  EXPECT_THROW(run(), Error);
}

}  // namespace
}  // namespace sherd::cpu
