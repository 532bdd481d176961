#pragma once
// Parameters and optimizer state between the sharded model and files: each rank moves the pieces of its own shards,
// through one bounded buffer.
#include <functional>

#include "sherd/io/param_source.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

/// Elements of the buffer between file and device: 4 MiB of f32.
constexpr std::int64_t kTransferElements = std::int64_t{1} << 20;

/// Reads the masters, and the moments too if `moments`, of this rank's shards; then rounds the masters to what is
/// gathered. Shapes that differ from the model's are bad_input.
void load_state(Rig& rig, ParamSource& from, bool moments);

/// Calls `take` with every piece this rank must write: its shards' pieces in each state, on the first replica only.
using TakePiece =
    std::function<void(const ParamSpec& spec, ParamState state, std::int64_t first, std::span<const float> values)>;
void save_state(Rig& rig, const TakePiece& take);

}  // namespace sherd
