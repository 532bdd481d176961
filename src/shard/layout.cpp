#include "sherd/shard/layout.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"

namespace sherd {

UnitLayout make_layout(const UnitSpec& unit, std::int64_t world_size) {
  UnitLayout layout;
  layout.name = unit.name;
  std::int64_t top = 0;
  std::string group;
  for (const ParamSpec& spec : unit.params) {
    const bool continues = !spec.fusion.empty() && spec.fusion == group;
    if (!continues) top = round_up(top, kAlignElements);
    layout.slots.push_back({spec, top});
    top = checked_add(top, spec.numel());
    group = spec.fusion;
  }
  layout.padded = round_up(top, kAlignElements * world_size);
  return layout;
}

Tensor UnitLayout::view(Tensor flat, std::size_t i) const {
  const Slot& slot = slots.at(i);
  return flat.flat(slot.first, slot.spec.numel()).view(slot.spec.shape);
}

std::vector<Tensor> UnitLayout::views(Tensor flat) const {
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < slots.size(); ++i) all.push_back(view(flat, i));
  return all;
}

bool UnitLayout::same_shape(const UnitLayout& other) const {
  return padded == other.padded && slots.size() == other.slots.size() &&
         std::equal(slots.begin(), slots.end(), other.slots.begin(),
                    [](const Slot& a, const Slot& b) { return a.first == b.first && a.spec.shape == b.spec.shape; });
}

std::vector<ShardPiece> shard_pieces(const UnitLayout& layout, std::int64_t index, std::int64_t shards) {
  const std::int64_t size = div_exact(layout.padded, shards), begin = index * size, end = begin + size;
  std::vector<ShardPiece> pieces;
  for (const UnitLayout::Slot& slot : layout.slots) {
    const std::int64_t from = std::max(begin, slot.first), to = std::min(end, slot.first + slot.spec.numel());
    if (from < to) pieces.push_back({&slot.spec, from - slot.first, to - from, from - begin});
  }
  return pieces;
}

std::vector<DecayRun> decay_runs(const std::vector<ShardPiece>& pieces, float decay, bool decay_all) {
  std::vector<DecayRun> runs;
  for (const ShardPiece& p : pieces) {
    runs.push_back({p.offset, p.count, decay_all || p.spec->decay ? decay : 0.0f, stable_hash(p.spec->name),
                    static_cast<std::uint64_t>(p.first)});
  }
  return runs;
}

}  // namespace sherd
