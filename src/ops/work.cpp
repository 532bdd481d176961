#include "sherd/ops/work.hpp"

#include <array>

namespace sherd {
namespace {

struct OpName {
  std::string_view op;
  OpKind kind;
  std::string_view part_of{};  // empty: of nothing but itself
};

constexpr std::string_view kInEightBits = "linear_f8";

using enum OpKind;
constexpr std::array kOps = {
    // ops/*/linear.*, ops/*/cross_entropy.*: on the CPU linear_cross_entropy is one operation, with its softmax
    OpName{"linear", gemm},
    OpName{"linear_grad_input", gemm},
    OpName{"linear_grad_weight", gemm},
    OpName{kInEightBits, gemm},
    OpName{"linear_cross_entropy", gemm},
    OpName{"cross_entropy_loss", elementwise},
    OpName{"quantize", elementwise},
    // ops/*/attention*, ops/cuda/cudnn_documents.cu
    OpName{"attention", attention},
    OpName{"attention_grad", attention},
    OpName{"attention_delta", attention, "attention_grad"},
    OpName{"attention_decode", attention},
    OpName{"derive_documents", attention},
    OpName{"lse_from_stats", attention, "attention"},
    OpName{"stats_from_lse", attention, "attention_grad"},
    // one pass over memory each
    OpName{"embedding", elementwise},
    OpName{"embedding_grad", elementwise},
    OpName{"rmsnorm", elementwise},
    OpName{"rmsnorm_residual", elementwise},
    OpName{"rmsnorm_grad", elementwise},
    OpName{"rope_table", elementwise},
    OpName{"rope", elementwise},
    OpName{"rope_inverse", elementwise},
    OpName{"swiglu", elementwise},
    OpName{"swiglu_grad", elementwise},
    OpName{"fill", elementwise},
    OpName{"cast", elementwise},
    OpName{"copy", elementwise},
    OpName{"add", elementwise},
    OpName{"scale", elementwise},
    OpName{"upload", elementwise},
    OpName{"download", elementwise},
    OpName{"initialize", elementwise},
    // ops/*/adamw.*
    OpName{"adamw", optimizer},
    OpName{"split_master", optimizer},
    OpName{"squared_norm", optimizer},
    OpName{"clip_factor", optimizer},
    // comm/, and what a stream waits for (device/trace.hpp)
    OpName{"all_gather", communication},
    OpName{"reduce_scatter", communication},
    OpName{"all_reduce", communication},
    OpName{"broadcast", communication},
    OpName{"barrier", communication},
    OpName{"all_gather (self)", communication},
    OpName{"reduce_scatter (self)", communication},
    OpName{"copy to the host", communication},
    OpName{"copy to the device", communication},
    OpName{"waits for communication", communication},
    OpName{"waits for computation", communication},
};

const OpName* find(std::string_view op) {
  for (const OpName& known : kOps)
    if (known.op == op) return &known;
  return nullptr;
}

}  // namespace

std::string_view name_of(OpKind kind) {
  static constexpr std::array<std::string_view, kOpKinds> kNames = {"gemm",      "attention",     "elementwise",
                                                                    "optimizer", "communication", "other"};
  return kNames.at(static_cast<std::size_t>(kind));
}

OpKind kind_of(std::string_view op) {
  const OpName* known = find(op);
  return known == nullptr ? OpKind::other : known->kind;
}

std::string_view counted_as(std::string_view op) {
  const OpName* known = find(op);
  return known == nullptr || known->part_of.empty() ? op : known->part_of;
}

OpWork total(const StepWork& work) {
  OpWork sum;
  for (const auto& [op, one] : work) {
    sum.calls += one.calls;
    sum.flops += one.flops;
    sum.bytes += one.bytes;
  }
  return sum;
}

double f8_flops(const StepWork& work) {
  const auto found = work.find(kInEightBits);
  return found == work.end() ? 0 : found->second.flops;
}

double flop_rate(std::string_view op, const DeviceRates& rates) {
  return op == kInEightBits ? rates.f8_flops : rates.flops;
}

double least_seconds(const StepWork& work, const DeviceRates& rates) {
  const double f8 = f8_flops(work);
  if (rates.flops <= 0 || rates.bytes <= 0 || (f8 > 0 && rates.f8_flops <= 0)) return 0;
  const OpWork sum = total(work);
  return (sum.flops - f8) / rates.flops + (f8 > 0 ? f8 / rates.f8_flops : 0) + sum.bytes / rates.bytes;
}

}  // namespace sherd
