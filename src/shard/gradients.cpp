// The way of gradients: written on the compute stream, reduced on the communication stream.
#include <algorithm>

#include "sherd/base/narrow.hpp"
#include "sherd/shard/sharded_model.hpp"

namespace sherd {

void ShardedModel::begin_step(std::int64_t step, std::int64_t micro_batches) {
  step_ = step;
  micro_batches_ = micro_batches;
  micro_batch_ = -1;
}

void ShardedModel::begin_micro_batch() {
  ++micro_batch_;
  SHERD_CHECK(micro_batch_ < micro_batches_, "micro-batch {} of {}", micro_batch_, micro_batches_);
}

ShardedModel::Grads ShardedModel::grads(int index) {
  Unit& unit = units_.at(static_cast<std::size_t>(index));
  const float over_micro_batches = micro_batch_ == 0 ? 0.0f : 1.0f;
  if (shards() == 1) return {unit.layout.views(unit.state.grad), over_micro_batches};
  const int s = pick_free(unit.grad_slots, grad_slots_);
  SHERD_CHECK(s >= 0, "gradients of unit {} asked for, none of its slots was reduced", unit.layout.name);
  Slot& slot = grad_slots_[static_cast<std::size_t>(s)];
  context_.compute.wait(*slot.free);  // the reduction that last read this slot
  slot.unit = index;
  slot.in_use = true;
  return {unit.layout.views(slot.full), 0.0f};
}

void ShardedModel::reduce(int index) {
  Unit& unit = units_.at(static_cast<std::size_t>(index));
  const CommTag tag{unit.reduce_tag.c_str(), step_};
  const bool across_replicas = micro_batch_ + 1 == micro_batches_ && context_.replicate.size() > 1;
  if (shards() == 1 && !across_replicas) return;
  context_.compute.record(*unit.whole);
  context_.comm.wait(*unit.whole);  // backward is still writing the gradients
  if (shards() > 1) {
    const auto slot = std::find_if(grad_slots_.begin(), grad_slots_.end(),
                                   [&](const Slot& s) { return s.in_use && s.unit == index; });
    SHERD_CHECK(slot != grad_slots_.end(), "reduce() of unit {} without grads()", unit.layout.name);
    const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(slot->full.bytes()));
    context_.shard.reduce_scatter(slot->full, unit.state.grad, micro_batch_ == 0 ? 0.0f : 1.0f, tag, context_.comm);
    context_.comm.record(*slot->free);
    slot->in_use = false;
    slot->last_use = ++clock_;
  }
  if (!across_replicas) return;
  const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(unit.state.grad.bytes()));
  context_.replicate.all_reduce(unit.state.grad, tag, context_.comm);
}

void ShardedModel::finish_backward() {
  SHERD_CHECK(micro_batch_ + 1 == micro_batches_, "{} micro-batches of {}", micro_batch_ + 1, micro_batches_);
  context_.comm.record(*reduced_);
  context_.compute.wait(*reduced_);  // gradient shards are still being summed
}

void ShardedModel::gradient_squares(Tensor squares) {
  context_.ops.fill(squares, 0, context_.compute);
  for (const Unit& unit : units_) context_.ops.squared_norm(unit.state.grad, squares, context_.compute);
  if (shards() == 1) return;
  context_.compute.record(*squares_ready_);
  context_.comm.wait(*squares_ready_);  // the local sum of squares
  {
    const StreamRange range(context_.comm, "gradient norm", narrow<std::int64_t>(squares.bytes()));
    context_.shard.all_reduce(squares, {"gradient norm", step_}, context_.comm);
  }
  context_.comm.record(*squares_done_);
  context_.compute.wait(*squares_done_);  // the global sum of squares
}

}  // namespace sherd
