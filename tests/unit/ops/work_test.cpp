// What an operation is by its name, and the least time of a step. (tests/training runs steps and looks every name up.)
#include "sherd/ops/work.hpp"

#include <gtest/gtest.h>

#include "sherd/device/trace.hpp"

namespace sherd {
namespace {

TEST(OpKinds, AreKnownByName) {
  EXPECT_EQ(kind_of("linear_grad_weight"), OpKind::gemm);
  EXPECT_EQ(kind_of("attention_delta"), OpKind::attention);
  EXPECT_EQ(kind_of("swiglu"), OpKind::elementwise);
  EXPECT_EQ(kind_of("adamw"), OpKind::optimizer);
  EXPECT_EQ(kind_of("all_gather"), OpKind::communication);
  EXPECT_EQ(kind_of(Trace::kWaitsForCommunication), OpKind::communication);
  EXPECT_EQ(kind_of(Trace::kWaitsForComputation), OpKind::communication);
  EXPECT_EQ(kind_of("linear_"), OpKind::other);
  EXPECT_EQ(kind_of(""), OpKind::other);
  EXPECT_EQ(name_of(OpKind::gemm), "gemm");
  EXPECT_EQ(name_of(OpKind::other), "other");
}

TEST(OpKinds, PartsCountAsTheirWhole) {
  EXPECT_EQ(counted_as("attention_delta"), "attention_grad");
  EXPECT_EQ(counted_as("linear"), "linear");
  EXPECT_EQ(counted_as("never heard of"), "never heard of");
}

TEST(LeastSeconds, AddsProductsAndBytes) {
  const StepWork work{{"linear", {2, 3e12, 0}}, {"attention", {1, 1e12, 0}}, {"rmsnorm", {4, 0, 6e9}}};
  EXPECT_EQ(total(work).calls, 7);
  EXPECT_EQ(total(work).flops, 4e12);
  EXPECT_EQ(total(work).bytes, 6e9);
  EXPECT_DOUBLE_EQ(least_seconds(work, {8e12, 3e9}), 0.5 + 2.0);
  EXPECT_EQ(least_seconds(work, {0, 3e9}), 0);
  EXPECT_EQ(least_seconds(work, {8e12, 0}), 0);
  EXPECT_EQ(least_seconds({}, {8e12, 3e9}), 0);
}

TEST(LeastSeconds, CountsProductsInEightBitsAtTheirOwnRate) {
  const StepWork work{{"linear", {2, 3e12, 0}}, {"linear_f8", {6, 8e12, 0}}, {"quantize", {9, 0, 6e9}}};
  EXPECT_EQ(f8_flops(work), 8e12);
  EXPECT_EQ(f8_flops({{"linear", {2, 3e12, 0}}}), 0);
  const DeviceRates rates{.flops = 4e12, .bytes = 3e9, .f8_flops = 16e12};
  EXPECT_EQ(flop_rate("linear_f8", rates), 16e12);
  EXPECT_EQ(flop_rate("linear", rates), 4e12);
  EXPECT_EQ(flop_rate("attention_grad", rates), 4e12);
  EXPECT_DOUBLE_EQ(least_seconds(work, rates), 0.75 + 0.5 + 2.0);
  EXPECT_EQ(least_seconds(work, {4e12, 3e9}), 0) << "a rate is not known";
}

}  // namespace
}  // namespace sherd
