// Construction, weights and optimizer; the gradients' way is in gradients.cpp.
#include "sherd/shard/sharded_model.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"
#include "sherd/ops/eight_bit.hpp"

namespace sherd {

ShardedModel::ShardedModel(ShardContext context, const std::vector<UnitSpec>& specs, ShardOptions options,
                           Arena& persistent)
    : context_(context), options_(options) {
  SHERD_CHECK(options.prefetch >= 1, "prefetch of {} units", options.prefetch);
  SHERD_CHECK(!options.split_master || options.param_dtype == DType::bf16, "split masters of parameters in {}",
              name_of(options.param_dtype));
  SHERD_CHECK(options.grad_dtype == DType::f32 || shards() * context.replicate.size() == 1,
              "gradients kept in {} by several ranks", name_of(options.grad_dtype));
  take_states(specs, persistent);
  take_slots(persistent);
  reduced_ = context_.device.event("reduced");
  squares_ready_ = context_.device.event("squares ready");
  squares_done_ = context_.device.event("squares done");
}

void ShardedModel::take_states(const std::vector<UnitSpec>& specs, Arena& persistent) {
  const std::int64_t world = checked_mul(context_.shard.size(), context_.replicate.size());
  const bool rounded = options_.param_dtype != DType::f32;
  for (const UnitSpec& spec : specs) {
    Unit unit;
    unit.layout = make_layout(spec, world);
    UnitState& state = unit.state;
    const std::int64_t S = div_exact(unit.layout.padded, shards());
    if (options_.split_master)
      state.rest = persistent.take(DType::i16, {S});
    else
      state.master = persistent.take(DType::f32, {S});
    state.m = persistent.take(options_.moments_dtype, {S});
    state.v = persistent.take(options_.moments_dtype, {S});
    if (options_.moments_dtype == DType::u8)
      state.scales = persistent.take(DType::f32, {div_exact(S, kMomentBlock), 2});
    if (!options_.optimizer_in_backward) state.grad = persistent.take(options_.grad_dtype, {S});
    state.compute = rounded ? persistent.take(options_.param_dtype, {S}) : state.master;
    unit.stepped = context_.device.event("stepped " + spec.name);
    unit.whole = context_.device.event("whole " + spec.name);
    unit.gather_tag = "gather " + spec.name;
    unit.reduce_tag = "reduce " + spec.name;
    units_.push_back(std::move(unit));
  }
}

/// Per size class. Without peers gradients are used up before the next unit's are written.
int ShardedModel::slots_of_gradients() const {
  if (shards() > 1) return options_.prefetch + 1;
  if (!options_.optimizer_in_backward) return 0;
  return context_.replicate.size() > 1 ? 2 : 1;
}

void ShardedModel::take_slots(Arena& persistent) {
  const auto add = [&](std::deque<Slot>& slots, DType dtype, std::int64_t size) {
    slots.push_back(
        {persistent.take(dtype, {size}), {}, context_.device.event("ready"), context_.device.event("free")});
    return narrow<int>(slots.size()) - 1;
  };
  const int of_weights = shards() > 1 ? options_.prefetch + 1 : 0, of_gradients = slots_of_gradients();
  const DType grad_dtype = shards() > 1 ? options_.reduce_dtype : options_.grad_dtype;
  const auto first_like = [&](const Unit& unit) {  // units of one shape share the slots of the first such unit
    return std::find_if(units_.begin(), units_.end(),
                        [&](const Unit& other) { return other.layout.same_shape(unit.layout); });
  };
  for (Unit& unit : units_) {
    const auto first = first_like(unit);
    const std::int64_t U = unit.layout.padded;
    if (std::ssize(first->weight_slots) < of_weights)
      first->weight_slots.push_back(add(weight_slots_, options_.param_dtype, U));
    if (std::ssize(first->grad_slots) < of_gradients) {
      first->grad_slots.push_back(add(grad_slots_, grad_dtype, U));
      if (options_.optimizer_in_backward && shards() > 1)
        grad_slots_.back().shard = persistent.take(DType::f32, {div_exact(U, shards())});
    }
  }
  for (Unit& unit : units_) {
    const auto first = first_like(unit);
    unit.weight_slots = first->weight_slots;
    unit.grad_slots = first->grad_slots;
  }
}

StateBytes ShardedModel::state_bytes() const {
  const auto bytes = [](const Tensor& t) { return t ? narrow<std::int64_t>(t.bytes()) : 0; };
  StateBytes sum;
  for (const Unit& unit : units_) {
    const UnitState& s = unit.state;
    sum.weights += s.compute.data == s.master.data ? 0 : bytes(s.compute);
    sum.masters += bytes(s.master) + bytes(s.rest);
    sum.moments += bytes(s.m) + bytes(s.v) + bytes(s.scales);
    sum.gradients += bytes(s.grad);
  }
  for (const std::deque<Slot>* slots : {&weight_slots_, &grad_slots_})
    for (const Slot& slot : *slots) sum.slots += bytes(slot.full) + bytes(slot.shard);
  return sum;
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

void ShardedModel::update() {
  const StreamRange range(context_.compute, "optimizer");
  for (int i = 0; i < units(); ++i) {
    if (!options_.optimizer_in_backward) update_unit(i, units_[static_cast<std::size_t>(i)].state.grad);
    if (i <= options_.prefetch) prefetch(i);  // the next step's first units travel while the others are updated
  }
}

void ShardedModel::update_unit(int index, Tensor grad) {
  Unit& unit = units_[static_cast<std::size_t>(index)];
  const UnitState& s = unit.state;
  const Tensor copy = options_.param_dtype == DType::f32 ? Tensor{} : s.compute;
  const StreamRange range(context_.compute, unit.layout.name.c_str());
  if (options_.optimizer_in_backward) context_.ops.squared_norm(grad, update_.squares, context_.compute);
  context_.ops.adamw({s.master, grad, s.m, s.v, copy, s.rest, s.scales},
                     decay_runs(pieces(index), update_.decay, update_.decay_all), update_.hyper, update_.scalars,
                     context_.compute);
  changed(unit);
}

void ShardedModel::masters_changed() {
  for (Unit& unit : units_) {
    if (options_.param_dtype != DType::f32 && !options_.split_master)
      context_.ops.cast(unit.state.master, unit.state.compute, context_.compute);
    changed(unit);
  }
}

void ShardedModel::changed(Unit& unit) {
  ++unit.version;
  if (shards() > 1) context_.compute.record(*unit.stepped);
}

}  // namespace sherd
