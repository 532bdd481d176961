#include "passes.hpp"

#include <cmath>

namespace sherd::bench {
namespace {

std::size_t bytes_of(const std::vector<HostBatch>& batches) {
  std::size_t bytes = 2 * Arena::kAlign;  // two scalars
  for (const HostBatch& b : batches) bytes += 3 * Arena::aligned(b.tokens.size() * sizeof(std::int32_t));
  return bytes;
}

}  // namespace

Passes::Passes(Rig& rig, Device& device, const std::vector<HostBatch>& batches)
    : rig_(rig),
      arena_(device.arena("the benchmark's batches", bytes_of(batches))),
      loss_(arena_.take(DType::f32, {1})),
      divisor_(arena_.take(DType::f32, {1})) {
  const auto upload = [&](const auto& from, Tensor to) {
    rig_.ops().upload(std::as_bytes(std::span(from)), to, rig_.compute());
    return to;
  };
  const auto take = [&](const HostBatch& b) { return arena_.take(DType::i32, {b.batch, b.length}); };
  std::int64_t valid = 0;
  for (const HostBatch& b : batches) {
    batches_.push_back({upload(b.tokens, take(b)), upload(b.targets, take(b)), upload(b.doc_start, take(b))});
    valid += b.valid;
  }
  const std::vector<float> divisor{static_cast<float>(valid)};
  upload(divisor, divisor_);
  rig_.compute().synchronize();
}

void Passes::enqueue(std::int64_t number) {
  rig_.ops().fill(loss_, 0, rig_.compute());
  rig_.model().begin_step(number, std::ssize(batches_), {});  // there is no update
  for (const DeviceBatch& batch : batches_) {
    rig_.model().begin_micro_batch();
    rig_.step().pass().train(batch, loss_, divisor_);
  }
  rig_.model().finish_backward();
}

double Passes::loss() {
  float loss = 0;
  rig_.ops().download(loss_, std::as_writable_bytes(std::span(&loss, 1)), rig_.compute());
  rig_.compute().synchronize();
  if (!std::isfinite(loss)) throw numerical_error("the loss of forward-backward is {}; it must be finite", loss);
  return loss;
}

}  // namespace sherd::bench
