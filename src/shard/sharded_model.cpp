// Construction, weights and optimizer; the gradients' way is in gradients.cpp.
#include "sherd/shard/sharded_model.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"

namespace sherd {

ShardedModel::ShardedModel(ShardContext context, const std::vector<UnitSpec>& specs, ShardOptions options,
                           Arena& persistent)
    : context_(context), options_(options) {
  SHERD_CHECK(options.prefetch >= 1, "prefetch of {} units", options.prefetch);
  take_states(specs, persistent);
  if (shards() > 1) take_slots(persistent);
  reduced_ = context_.device.event("reduced");
  squares_ready_ = context_.device.event("squares ready");
  squares_done_ = context_.device.event("squares done");
}

void ShardedModel::take_states(const std::vector<UnitSpec>& specs, Arena& persistent) {
  const std::int64_t world = checked_mul(context_.shard.size(), context_.replicate.size());
  for (const UnitSpec& spec : specs) {
    Unit unit;
    unit.layout = make_layout(spec, world);
    const std::int64_t S = div_exact(unit.layout.padded, shards());
    unit.state.master = persistent.take(DType::f32, {S});
    unit.state.m = persistent.take(options_.moments_dtype, {S});
    unit.state.v = persistent.take(options_.moments_dtype, {S});
    unit.state.grad = persistent.take(DType::f32, {S});
    const bool rounded = options_.param_dtype != DType::f32;
    unit.state.compute = rounded ? persistent.take(options_.param_dtype, {S}) : unit.state.master;
    unit.stepped = context_.device.event("stepped " + spec.name);
    unit.whole = context_.device.event("whole " + spec.name);
    unit.gather_tag = "gather " + spec.name;
    unit.reduce_tag = "reduce " + spec.name;
    units_.push_back(std::move(unit));
  }
}

void ShardedModel::take_slots(Arena& persistent) {
  const auto add = [&](std::deque<Slot>& slots, DType dtype, std::int64_t size) {
    slots.push_back({persistent.take(dtype, {size}), context_.device.event("ready"), context_.device.event("free")});
    return narrow<int>(slots.size()) - 1;
  };
  for (Unit& unit : units_) {  // units of one shape share the slots of the first such unit, up to prefetch + 1
    const auto first = std::find_if(units_.begin(), units_.end(),
                                    [&](const Unit& other) { return other.layout.same_shape(unit.layout); });
    if (static_cast<int>(first->weight_slots.size()) <= options_.prefetch) {
      first->weight_slots.push_back(add(weight_slots_, options_.param_dtype, unit.layout.padded));
      first->grad_slots.push_back(add(grad_slots_, options_.reduce_dtype, unit.layout.padded));
    }
  }
  for (Unit& unit : units_) {
    const auto first = std::find_if(units_.begin(), units_.end(),
                                    [&](const Unit& other) { return other.layout.same_shape(unit.layout); });
    unit.weight_slots = first->weight_slots;
    unit.grad_slots = first->grad_slots;
  }
}

int ShardedModel::find_resident(const Unit& unit, int index) const {
  for (const int s : unit.weight_slots) {
    const Slot& slot = weight_slots_[static_cast<std::size_t>(s)];
    if (slot.unit == index && slot.version == unit.version) return s;
  }
  return -1;
}

/// The slot that was used longest ago: the same choice on every rank, since all run the same schedule.
int ShardedModel::pick_free(const std::vector<int>& candidates, const std::deque<Slot>& slots) const {
  int best = -1;
  for (const int s : candidates) {
    const Slot& slot = slots[static_cast<std::size_t>(s)];
    if (!slot.in_use && (best < 0 || slot.last_use < slots[static_cast<std::size_t>(best)].last_use)) best = s;
  }
  return best;
}

void ShardedModel::prefetch(int index) {
  if (index < 0 || index >= units() || shards() == 1) return;
  Unit& unit = units_[static_cast<std::size_t>(index)];
  if (const int resident = find_resident(unit, index); resident >= 0) {
    weight_slots_[static_cast<std::size_t>(resident)].last_use = ++clock_;  // not to be taken for the unit after it
    return;
  }
  const int s = pick_free(unit.weight_slots, weight_slots_);
  if (s < 0) return;
  Slot& slot = weight_slots_[static_cast<std::size_t>(s)];
  context_.comm.wait(*slot.free);     // the last unit in this slot is still being computed with
  context_.comm.wait(*unit.stepped);  // the optimizer is still writing the shard
  const StreamRange range(context_.comm, unit.gather_tag.c_str(), narrow<std::int64_t>(slot.full.bytes()));
  context_.shard.all_gather(unit.state.compute, slot.full, {unit.gather_tag.c_str(), step_}, context_.comm);
  context_.comm.record(*slot.ready);
  slot.unit = index;
  slot.version = unit.version;
  slot.last_use = ++clock_;
}

void ShardedModel::prefetch_after(int unit, int last) {
  const int direction = last < unit ? -1 : 1;
  for (int i = 0; i < options_.prefetch && unit != last; ++i) prefetch(unit += direction);
}

ShardedModel::Weights ShardedModel::use(int index) {
  Unit& unit = units_.at(static_cast<std::size_t>(index));
  if (shards() == 1) return {*this, index, -1, unit.layout.views(unit.state.compute)};
  prefetch(index);
  const int s = find_resident(unit, index);
  SHERD_CHECK(s >= 0, "no free slot for unit {}: {} guards are alive", unit.layout.name, unit.weight_slots.size());
  Slot& slot = weight_slots_[static_cast<std::size_t>(s)];
  SHERD_CHECK(!slot.in_use, "unit {} is in use already", unit.layout.name);
  context_.compute.wait(*slot.ready);  // the unit is still travelling
  slot.in_use = true;
  slot.last_use = ++clock_;
  return {*this, index, s, unit.layout.views(slot.full)};
}

ShardedModel::Weights::Weights(ShardedModel& model, int unit, int slot, std::vector<Tensor> views)
    : model_(model), slot_(slot), views_(std::move(views)) {
  model.context_.compute.enter(model.units_[static_cast<std::size_t>(unit)].layout.name.c_str());
}

ShardedModel::Weights::~Weights() {
  model_.context_.compute.leave();
  if (slot_ < 0) return;
  Slot& slot = model_.weight_slots_[static_cast<std::size_t>(slot_)];
  model_.context_.compute.record(*slot.free);
  slot.in_use = false;
}

void ShardedModel::adamw(const AdamWHyper& hyper, const AdamWScalars& scalars, float decay, bool decay_all) {
  const StreamRange range(context_.compute, "optimizer");
  for (int i = 0; i < units(); ++i) {
    Unit& unit = units_[static_cast<std::size_t>(i)];
    const UnitState& s = unit.state;
    const StreamRange updated(context_.compute, unit.layout.name.c_str());
    const Tensor copy = options_.param_dtype == DType::f32 ? Tensor{} : s.compute;
    context_.ops.adamw({s.master, s.grad, s.m, s.v, copy}, decay_runs(pieces(i), decay, decay_all), hyper, scalars,
                       context_.compute);
    changed(unit);
    if (i <= options_.prefetch) prefetch(i);  // the next step's first units travel while the others are updated
  }
}

void ShardedModel::masters_changed() {
  for (Unit& unit : units_) {
    if (options_.param_dtype != DType::f32) context_.ops.cast(unit.state.master, unit.state.compute, context_.compute);
    changed(unit);
  }
}

void ShardedModel::changed(Unit& unit) {
  ++unit.version;
  context_.compute.record(*unit.stepped);
}

}  // namespace sherd
