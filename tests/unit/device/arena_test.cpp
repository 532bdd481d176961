#include "sherd/device/arena.hpp"

#include <gtest/gtest.h>

#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

/// The same takes on a measuring and on a real arena: the measured high-water mark is exactly what the run needs.
void take_all(Arena& a) {
  a.take(DType::f32, {3, 5});
  {
    const Arena::Scope scratch(a);
    a.take(DType::bf16, {1001});
    a.take(DType::i32, {7});
  }
  a.take(DType::f32, {17});
}

TEST(Arena, MeasuredIsEnoughAndOneByteLessIsNot) {
  cpu::Device device;
  Arena plan = Arena::measure("plan");
  take_all(plan);
  Arena exact = device.arena("exact", plan.high_water());
  take_all(exact);
  EXPECT_EQ(exact.high_water(), plan.high_water());
  Arena small = device.arena("small", plan.high_water() - 1);
  EXPECT_THROW(take_all(small), Error);
}

TEST(Arena, DividedGivesEachPartItsBytesAndGoesWithTheLast) {
  cpu::Device device;
  Arena whole = device.arena("whole", 256 + 100);
  auto parts = std::make_unique<std::pair<Arena, Arena>>(Arena::divide(std::move(whole), "first", 200, "second"));
  const Tensor first = parts->first.take(DType::f32, {50});
  EXPECT_THROW(parts->first.take(DType::f32, {1}), Error);
  const Arena second = std::move(parts->second);
  EXPECT_EQ(second.capacity(), 100u);
  EXPECT_EQ(second.name(), "second");
  parts.reset();
  *first.ptr<float>() = 1;  // still there: the second part holds the block
  EXPECT_THROW(Arena::divide(device.arena("small", 255), "first", 200, "second"), Error);
}

TEST(Arena, IsLentWholeWhileNothingIsTaken) {
  cpu::Device device;
  Arena a = device.arena("a", 1001);
  EXPECT_EQ(a.idle(DType::f32).numel(), 250);
  EXPECT_EQ(a.high_water(), 0u);
  a.take(DType::f32, {1});
  EXPECT_THROW(a.idle(DType::f32), Error);
}

TEST(Arena, MeasuredTensorsAreNotNullAndDisjoint) {
  Arena a = Arena::measure("a"), b = Arena::measure("b");
  const Tensor x = a.take(DType::f32, {100}), y = a.take(DType::f32, {100}), z = b.take(DType::f32, {100});
  EXPECT_TRUE(x && y && z);
  EXPECT_GE(y.data, x.data + x.bytes());
  EXPECT_NE(x.data, z.data);
  EXPECT_TRUE(a.measuring());
}

TEST(Arena, RefusesOverflowingShapes) {
  Arena a = Arena::measure("a");
  EXPECT_THROW(a.take(DType::f32, {std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
}

TEST(Arena, MoreThanTheMachineHasDoesNotFit) {
  cpu::Device device;
  try {
    device.arena("weights", std::size_t{1} << 50);
    FAIL() << "a pebibyte was handed out";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::does_not_fit);
    EXPECT_NE(std::string(e.what()).find("weights"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sherd
