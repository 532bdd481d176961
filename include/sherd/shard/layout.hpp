#pragma once
// How a unit's parameters lie in its flat vector, and which logical elements a shard of it holds.
//
//   | norm . | q ....... k .. v .. | o ....... | gate ........ up ........ | down ........ | pad |     flat (U)
//   |   shard 0        |   shard 1        |   shard 2        |   shard 3                          |     (S) each
#include <cstdint>
#include <vector>

#include "sherd/base/tensor.hpp"
#include "sherd/model/param_spec.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd {

/// Parameters start at multiples of this many elements, except inside a fusion group; shards are multiples of it.
constexpr std::int64_t kAlignElements = 128;

struct UnitLayout {
  struct Slot {
    ParamSpec spec;
    std::int64_t first = 0;  // of its elements in the flat vector
  };
  std::string name;
  std::vector<Slot> slots;
  std::int64_t padded = 0;  // U: a multiple of 128 W, so that node and world slices nest

  /// A view of parameter i in a gathered flat vector (U).
  Tensor view(Tensor flat, std::size_t i) const;
  std::vector<Tensor> views(Tensor flat) const;
  bool same_shape(const UnitLayout& other) const;  // may share gather slots
};

UnitLayout make_layout(const UnitSpec& unit, std::int64_t world_size);

/// A run of one parameter's elements inside one shard.
struct ShardPiece {
  const ParamSpec* spec = nullptr;
  std::int64_t first = 0;  // logical element of the parameter
  std::int64_t count = 0;
  std::int64_t offset = 0;  // in the shard
};
/// The pieces of shard `index` of `shards`, in order. Padding belongs to no piece.
std::vector<ShardPiece> shard_pieces(const UnitLayout& layout, std::int64_t index, std::int64_t shards);

/// The pieces as runs for AdamW: each with its weight decay, its parameter and the first of its elements.
std::vector<DecayRun> decay_runs(const std::vector<ShardPiece>& pieces, float decay, bool decay_all);

}  // namespace sherd
