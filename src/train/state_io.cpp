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

/// Values between files, which hold f32, and states on the device, which may be bf16: those are widened exactly when
/// they are saved, and rounded to nearest when they are loaded, which gives what was bf16 back to the bit.
class Transfer {
 public:
  explicit Transfer(Rig& rig) : rig_(rig) {}
  /// The next `count` values, to be read into.
  std::span<float> values(std::int64_t count) {
    values_.resize(narrow<std::size_t>(count));
    return values_;
  }
  void upload(Tensor to) {
    const std::span<std::byte> bytes = bytes_as(to.dtype);
    std::transform(values_.begin(), values_.begin() + std::ssize(rounded_), rounded_.begin(),
                   [](float x) { return bf16(x); });
    rig_.ops().upload(bytes, to, rig_.compute());
    rig_.compute().synchronize();  // the memory is used again
  }
  /// All elements of `from`; valid until the next call.
  std::span<const float> download(Tensor from) {
    values_.resize(narrow<std::size_t>(from.numel()));
    rig_.ops().download(from, bytes_as(from.dtype), rig_.compute());
    rig_.compute().synchronize();
    std::transform(rounded_.begin(), rounded_.end(), values_.begin(), [](bf16 x) { return static_cast<float>(x); });
    return values_;
  }

 private:
  /// The host's memory for as many elements as there are values: the values themselves, or rounded_, else empty.
  std::span<std::byte> bytes_as(DType dtype) {
    rounded_.resize(dtype == DType::bf16 ? values_.size() : 0);
    return dtype == DType::bf16 ? std::as_writable_bytes(std::span(rounded_))
                                : std::as_writable_bytes(std::span(values_));
  }

  Rig& rig_;
  std::vector<float> values_;
  std::vector<bf16> rounded_;
};

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
  Transfer transfer(rig);
  for (int u = 0; u < model.units(); ++u) {
    for (const ShardPiece& piece : model.pieces(u)) {
      for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
        if (state != ParamState::master && !moments) continue;
        const Tensor to = state_tensor(model.state(u), state);
        in_runs(piece, [&](std::int64_t at, std::int64_t count) {
          from.read(piece.spec->name, state, piece.first + at, transfer.values(count));
          transfer.upload(to.flat(piece.offset + at, count));
        });
      }
    }
  }
  model.masters_changed();
}

void save_state(Rig& rig, CheckpointWriter& writer) {
  if (rig.mesh().replicate->rank() != 0) return;
  ShardedModel& model = rig.model();
  Transfer transfer(rig);
  for (int u = 0; u < model.units(); ++u) {
    for (const ShardPiece& piece : model.pieces(u)) {
      for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
        const Tensor at_device = state_tensor(model.state(u), state);
        writer.begin_piece(piece.spec->name, piece.spec->shape, state, piece.first, piece.count);
        in_runs(piece, [&](std::int64_t at, std::int64_t count) {
          writer.append(transfer.download(at_device.flat(piece.offset + at, count)));
        });
      }
    }
  }
}

}  // namespace sherd
