// The way of gradients: written on the compute stream, reduced on the communication stream.
#include <algorithm>

#include "sherd/base/narrow.hpp"
#include "sherd/shard/sharded_model.hpp"

namespace sherd {

void ShardedModel::begin_step(std::int64_t step, std::int64_t micro_batches, const Update& update) {
  SHERD_CHECK(micro_batches == 1 || !options_.optimizer_in_backward, "{} micro-batches with the optimizer in backward",
              micro_batches);
  step_ = step;
  micro_batches_ = micro_batches;
  micro_batch_ = -1;
  update_ = update;
  if (options_.optimizer_in_backward) context_.ops.fill(update_.squares, 0, context_.compute);
}

void ShardedModel::begin_micro_batch() {
  ++micro_batch_;
  SHERD_CHECK(micro_batch_ < micro_batches_, "micro-batch {} of {}", micro_batch_, micro_batches_);
}

ShardedModel::Grads ShardedModel::grads(int index) {
  Unit& unit = units_.at(static_cast<std::size_t>(index));
  const float over_micro_batches = micro_batch_ == 0 ? 0.0f : 1.0f;
  if (unit.grad_slots.empty()) return {unit.layout.views(unit.state.grad), over_micro_batches};
  const int s = pick_free(unit.grad_slots, grad_slots_);
  SHERD_CHECK(s >= 0, "gradients of unit {} asked for, none of its slots was reduced", unit.layout.name);
  Slot& slot = grad_slots_[static_cast<std::size_t>(s)];
  if (has_peers()) context_.compute.wait(*slot.free);  // the reduction that last read this slot
  slot.unit = index;
  slot.in_use = true;
  return {unit.layout.views(slot.full), 0.0f};
}

int ShardedModel::slot_with_gradients_of(int unit) const {
  const auto slot =
      std::find_if(grad_slots_.begin(), grad_slots_.end(), [&](const Slot& s) { return s.in_use && s.unit == unit; });
  return slot == grad_slots_.end() ? -1 : static_cast<int>(slot - grad_slots_.begin());
}

void ShardedModel::reduce(int index) {
  Unit& unit = units_.at(static_cast<std::size_t>(index));
  const bool across_replicas = micro_batch_ + 1 == micro_batches_ && context_.replicate.size() > 1;
  const int slot = slot_with_gradients_of(index);
  SHERD_CHECK(slot >= 0 || unit.grad_slots.empty(), "reduce() of unit {} without grads()", unit.layout.name);
  if (shards() > 1 || across_replicas) {
    context_.compute.record(*unit.whole);
    context_.comm.wait(*unit.whole);  // backward is still writing the gradients
  }
  options_.optimizer_in_backward ? reduce_and_update(unit, slot, across_replicas)
                                 : reduce_and_keep(unit, slot, across_replicas);
}

void ShardedModel::reduce_and_keep(Unit& unit, int s, bool across_replicas) {
  const CommTag tag{unit.reduce_tag.c_str(), step_};
  if (s >= 0) {
    Slot& slot = grad_slots_[static_cast<std::size_t>(s)];
    const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(slot.full.bytes()));
    context_.shard.reduce_scatter(slot.full, unit.state.grad, micro_batch_ == 0 ? 0.0f : 1.0f, tag, context_.comm);
    context_.comm.record(*slot.free);
    slot.in_use = false;
    slot.last_use = ++clock_;
  }
  if (!across_replicas) return;
  const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(unit.state.grad.bytes()));
  context_.replicate.all_reduce(unit.state.grad, tag, context_.comm);
}

/// Nobody is waited for in a world of one rank; else the unit before this one is updated, whose gradients have
/// travelled while this one's were computed.
void ShardedModel::reduce_and_update(Unit& unit, int s, bool across_replicas) {
  const CommTag tag{unit.reduce_tag.c_str(), step_};
  Slot& slot = grad_slots_[static_cast<std::size_t>(s)];
  if (shards() > 1) {
    const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(slot.full.bytes()));
    context_.shard.reduce_scatter(slot.full, slot.shard, 0.0f, tag, context_.comm);
  }
  if (across_replicas) {
    const Tensor own = shards() > 1 ? slot.shard : slot.full;
    const StreamRange range(context_.comm, tag.what, narrow<std::int64_t>(own.bytes()));
    context_.replicate.all_reduce(own, tag, context_.comm);
  }
  if (has_peers()) {
    context_.comm.record(*slot.free);
    update_reduced();
  }
  reduced_slot_ = s;
  if (!has_peers()) update_reduced();
}

void ShardedModel::update_reduced() {
  if (reduced_slot_ < 0) return;
  Slot& slot = grad_slots_[static_cast<std::size_t>(reduced_slot_)];
  if (has_peers()) context_.compute.wait(*slot.free);  // its gradients are still being summed
  {
    const StreamRange range(context_.compute, "optimizer");
    update_unit(slot.unit, shards() > 1 ? slot.shard : slot.full);
  }
  slot.in_use = false;
  slot.last_use = ++clock_;
  reduced_slot_ = -1;
}

void ShardedModel::finish_backward() {
  SHERD_CHECK(micro_batch_ + 1 == micro_batches_, "{} micro-batches of {}", micro_batch_ + 1, micro_batches_);
  update_reduced();
  if (!has_peers()) return;
  context_.comm.record(*reduced_);
  context_.compute.wait(*reduced_);  // gradient shards are still being summed
}

void ShardedModel::gradient_squares() {
  const Tensor squares = update_.squares;
  if (!options_.optimizer_in_backward) {
    context_.ops.fill(squares, 0, context_.compute);
    for (const Unit& unit : units_) context_.ops.squared_norm(unit.state.grad, squares, context_.compute);
  }
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
