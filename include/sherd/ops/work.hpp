#pragma once
// What an operation is, by the name it has in errors and traces; what work a step is made of; and the least time that
// a device needs for it.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sherd {

/// `other`: the table in work.cpp does not know the name. A test runs steps on both backends and finds none such.
enum class OpKind : int { gemm, attention, elementwise, optimizer, communication, other };
constexpr int kOpKinds = 6;
std::string_view name_of(OpKind kind);

OpKind kind_of(std::string_view op);
/// The operation of Ops that `op` is a part of: a backend may run several kernels for one. `op` itself if it is none.
std::string_view counted_as(std::string_view op);

struct OpWork {
  std::int64_t calls = 0;
  double flops = 0;  // of matrix products and of attention
  double bytes = 0;  // of memory, for what is neither: each input read once, each output written once
};
/// By operation.
using StepWork = std::map<std::string, OpWork, std::less<>>;
OpWork total(const StepWork& work);

/// FLOP of the products of codes in eight bits (Ops::linear_f8).
double f8_flops(const StepWork& work);

/// What a rank's device reaches, measured when a run starts; 0: unknown.
struct DeviceRates {
  double flops = 0;     // per second, in large products of the run's dtype
  double bytes = 0;     // per second, in large copies: each byte read and each written counts
  double f8_flops = 0;  // per second, in large products in eight bits; of a run with --fp8
};
/// The rate of the products, or of the attention, that `op` is.
double flop_rate(std::string_view op, const DeviceRates& rates);

/// Seconds that `work` takes at least, one operation after the other: FLOPs at the rate of products, those in eight
/// bits at their own, plus bytes at the rate of copies. 0 where a rate that it takes is not known.
double least_seconds(const StepWork& work, const DeviceRates& rates);

}  // namespace sherd
