#include "sherd/train/state_io.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "sherd/base/narrow.hpp"
#include "sherd/ops/eight_bit.hpp"
#include "sherd/ops/split_master.hpp"

namespace sherd {
namespace {

void check_shapes(ShardedModel& model, const ParamSource& from, const std::string& where) {
  for (int u = 0; u < model.units(); ++u) {
    for (const UnitLayout::Slot& slot : model.layout(u).slots) {
      require_shape(from, where, slot.spec.name, slot.spec.shape);
    }
  }
}

/// One state of one unit's shard as it lies on the device: the tensor of its elements, and what else they need.
struct Stored {
  Tensor elements;  // f32, bf16, or u8
  Tensor rest;      // of masters that are split: elements are their upper halves
  Tensor scales;    // (blocks, 2) of moments in u8: column `scale`
  std::int64_t scale = 0;
  std::uint32_t top = 0;  // its largest code
};
Stored stored(const UnitState& unit, ParamState state) {
  switch (state) {
    case ParamState::master:
      return unit.master ? Stored{unit.master, {}, {}} : Stored{unit.compute, unit.rest, {}};
    case ParamState::m:
      return {unit.m, {}, unit.scales, 0, kTopOfM};
    case ParamState::v:
      return {unit.v, {}, unit.scales, 1, kTopOfV};
  }
  return {};
}

/// Values between files, which hold f32, and states on the device, which may hold less: those are widened when they are
/// saved (exactly, but that a scale times an 8-bit code rounds in f32), and rounded to nearest when they are loaded,
/// which gives back what they were to the bit.
class Transfer {
 public:
  explicit Transfer(Rig& rig) : rig_(rig) {}

  /// Elements first to first + count - 1; valid until the next call.
  std::span<const float> download(const Stored& from, std::int64_t first, std::int64_t count) {
    values_.resize(narrow<std::size_t>(count));
    if (from.elements.dtype == DType::f32) {
      read(from.elements.flat(first, count), std::span(values_));
    } else if (from.elements.dtype == DType::bf16) {
      read_halves(from, first, count);
    } else {
      read_codes(from, first, count);
    }
    return values_;
  }

  /// Elements from `first` on, which is a multiple of 128.
  void upload(std::span<const float> values, const Stored& to, std::int64_t first) {
    const auto count = narrow<std::int64_t>(values.size());
    if (to.elements.dtype == DType::f32) {
      write(values, to.elements.flat(first, count));
    } else if (to.elements.dtype == DType::bf16) {
      write_halves(values, to, first);
    } else {
      write_codes(values, to, first);
    }
  }

 private:
  template <class T>
  void read(Tensor from, std::span<T> to) {
    rig_.ops().download(from, std::as_writable_bytes(to), rig_.compute());
    rig_.compute().synchronize();
  }
  template <class T>
  void write(std::span<T> from, Tensor to) {
    rig_.ops().upload(std::as_bytes(from), to, rig_.compute());
    rig_.compute().synchronize();  // the memory is used again
  }

  void read_halves(const Stored& from, std::int64_t first, std::int64_t count) {
    halves_.resize(narrow<std::size_t>(count));
    rests_.resize(from.rest ? halves_.size() : 0);
    read(from.elements.flat(first, count), std::span(halves_));
    if (from.rest) read(from.rest.flat(first, count), std::span(rests_));
    for (std::size_t i = 0; i < halves_.size(); ++i)
      values_[i] = std::bit_cast<float>(join_master(halves_[i].bits, from.rest ? rests_[i] : std::int16_t{0}));
  }
  void write_halves(std::span<const float> values, const Stored& to, std::int64_t first) {
    const auto count = narrow<std::int64_t>(values.size());
    halves_.resize(values.size());
    rests_.resize(to.rest ? values.size() : 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(values[i]);
      halves_[i] = bf16(values[i]);
      if (!to.rest) continue;
      halves_[i].bits = master_high(bits);
      rests_[i] = master_rest(bits, halves_[i].bits);
    }
    write(std::span(halves_), to.elements.flat(first, count));
    if (to.rest) write(std::span(rests_), to.rest.flat(first, count));
  }

  /// Both columns of the scales of the blocks that hold these elements.
  Tensor scales_of(const Stored& s, std::int64_t first, std::int64_t count) {
    const std::int64_t begin = first / kMomentBlock, blocks = div_up(first + count, kMomentBlock) - begin;
    scales_.resize(narrow<std::size_t>(2 * blocks));
    return s.scales.view({s.scales.numel()}).flat(2 * begin, 2 * blocks);
  }
  float& scale_at(const Stored& s, std::int64_t first, std::size_t i) {
    const std::int64_t block = (first + narrow<std::int64_t>(i)) / kMomentBlock - first / kMomentBlock;
    return scales_[narrow<std::size_t>(2 * block + s.scale)];
  }
  void read_codes(const Stored& from, std::int64_t first, std::int64_t count) {
    const Tensor scales = scales_of(from, first, count);
    codes_.resize(narrow<std::size_t>(count));
    read(scales, std::span(scales_));
    read(from.elements.flat(first, count), std::span(codes_));
    for (std::size_t i = 0; i < codes_.size(); ++i) {
      const std::uint32_t code = codes_[i];
      const float size = scale_at(from, first, i) * decode_moment(code & from.top, from.top);
      values_[i] = code > from.top ? -size : size;
    }
  }
  void write_codes(std::span<const float> values, const Stored& to, std::int64_t first) {
    SHERD_CHECK(first % kMomentBlock == 0, "moments from element {}", first);
    const auto count = narrow<std::int64_t>(values.size());
    const Tensor scales = scales_of(to, first, count);
    codes_.resize(values.size());
    read(scales, std::span(scales_));  // the other moment's
    for (std::size_t i = 0; i < values.size(); ++i) {
      float& scale = scale_at(to, first, i);
      scale = std::max(i % kMomentBlock == 0 ? 0.0f : scale, std::abs(values[i]));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float scale = scale_at(to, first, i);
      const float fraction = scale > 0 ? std::abs(values[i]) / scale : 0.0f;
      const std::uint32_t code =
          to.top == kTopOfV ? encode_second_moment(fraction, kNearest) : encode_moment(fraction, to.top, kNearest);
      codes_[i] = static_cast<std::uint8_t>(values[i] < 0 ? code | kSignOfM : code);
    }
    write(std::span(scales_), scales);
    write(std::span(codes_), to.elements.flat(first, count));
  }

  Rig& rig_;
  std::vector<float> values_, scales_;
  std::vector<bf16> halves_;
  std::vector<std::int16_t> rests_;
  std::vector<std::uint8_t> codes_;
};

/// Reads the values of a shard's elements first to first + count - 1, of whatever parameters they are; padding is 0.
void read_range(ParamSource& from, ParamState state, std::span<const ShardPiece> pieces, std::int64_t first,
                std::span<float> values) {
  std::ranges::fill(values, 0.0f);
  const std::int64_t end = first + narrow<std::int64_t>(values.size());
  for (const ShardPiece& piece : pieces) {
    const std::int64_t lo = std::max(first, piece.offset), hi = std::min(end, piece.offset + piece.count);
    if (lo >= hi) continue;
    from.read(piece.spec->name, state, piece.first + lo - piece.offset,
              values.subspan(narrow<std::size_t>(lo - first), narrow<std::size_t>(hi - lo)));
  }
}

}  // namespace

void load_state(Rig& rig, ParamSource& from, const std::string& where, bool moments) {
  ShardedModel& model = rig.model();
  check_shapes(model, from, where);
  Transfer transfer(rig);
  std::vector<float> values;
  for (int u = 0; u < model.units(); ++u) {
    const std::vector<ShardPiece> pieces = model.pieces(u);
    for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
      if (state != ParamState::master && !moments) continue;
      const Stored to = stored(model.state(u), state);
      const std::int64_t all = to.elements.numel();
      for (std::int64_t first = 0; first < all; first += kTransferElements) {
        values.resize(narrow<std::size_t>(std::min(kTransferElements, all - first)));
        read_range(from, state, pieces, first, values);
        transfer.upload(values, to, first);
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
        const Stored from = stored(model.state(u), state);
        writer.begin_piece(piece.spec->name, piece.spec->shape, state, piece.first, piece.count);
        for (std::int64_t at = 0; at < piece.count; at += kTransferElements)
          writer.append(transfer.download(from, piece.offset + at, std::min(kTransferElements, piece.count - at)));
      }
    }
  }
}

}  // namespace sherd
