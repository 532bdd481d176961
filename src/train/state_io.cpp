#include "sherd/train/state_io.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"

namespace sherd {
namespace {

void check_shapes(ShardedModel& model, const ParamSource& from, const std::string& where) {
  for (int u = 0; u < model.units(); ++u) {
    for (const UnitLayout::Slot& slot : model.layout(u).slots) {
      require_shape(from, where, slot.spec.name, slot.spec.shape);
    }
  }
}

Tensor state_tensor(const UnitState& unit, ParamState state) {
  switch (state) {
    case ParamState::master:
      return unit.master;
    case ParamState::m:
      return unit.m;
    case ParamState::v:
      return unit.v;
  }
  return {};
}

/// Calls fn(piece, first element within it, count) in runs that fit the transfer buffer.
template <class Fn>
void in_runs(const ShardPiece& piece, Fn fn) {
  for (std::int64_t at = 0; at < piece.count; at += kTransferElements)
    fn(at, std::min(kTransferElements, piece.count - at));
}

}  // namespace

void load_state(Rig& rig, ParamSource& from, const std::string& where, bool moments) {
  ShardedModel& model = rig.model();
  check_shapes(model, from, where);
  std::vector<float> buffer;
  for (int u = 0; u < model.units(); ++u) {
    for (const ShardPiece& piece : model.pieces(u)) {
      for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
        if (state != ParamState::master && !moments) continue;
        const Tensor to = state_tensor(model.state(u), state);
        in_runs(piece, [&](std::int64_t at, std::int64_t count) {
          buffer.resize(narrow<std::size_t>(count));
          from.read(piece.spec->name, state, piece.first + at, buffer);
          rig.ops().upload(std::as_bytes(std::span(buffer)), to.flat(piece.offset + at, count), rig.compute());
          rig.compute().synchronize();  // the buffer is used again
        });
      }
    }
  }
  model.masters_changed();
}

void save_state(Rig& rig, CheckpointWriter& writer) {
  if (rig.mesh().replicate->rank() != 0) return;
  ShardedModel& model = rig.model();
  std::vector<float> buffer;
  for (int u = 0; u < model.units(); ++u) {
    for (const ShardPiece& piece : model.pieces(u)) {
      for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
        const Tensor at_device = state_tensor(model.state(u), state);
        writer.begin_piece(piece.spec->name, piece.spec->shape, state, piece.first, piece.count);
        in_runs(piece, [&](std::int64_t at, std::int64_t count) {
          buffer.resize(narrow<std::size_t>(count));
          rig.ops().download(at_device.flat(piece.offset + at, count), std::as_writable_bytes(std::span(buffer)),
                             rig.compute());
          rig.compute().synchronize();
          writer.append(buffer);
        });
      }
    }
  }
}

}  // namespace sherd
