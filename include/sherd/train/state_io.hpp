#pragma once
// Parameters and optimizer state between the sharded model and files: each rank moves the pieces of its own shards,
// through one bounded buffer. Files hold f32, whatever the dtype of the moments.
#include <string>

#include "sherd/io/checkpoint.hpp"
#include "sherd/train/rig.hpp"

namespace sherd {

/// Elements of the buffer between file and device: 1 MiB of f32. A multiple of what shares a scale (eight_bit.hpp).
constexpr std::int64_t kTransferElements = std::int64_t{1} << 18;

/// Reads the masters, and the moments too if `moments`, of this rank's shards; then rounds the masters to what is
/// gathered. Moments in bf16 or 8 bits are rounded to nearest, which gives those that were saved
/// from such back to the bit. Shapes that differ from the model's are bad_input.
/// `where` names the source in messages.
void load_state(Rig& rig, ParamSource& from, const std::string& where, bool moments);

/// Hands every piece that this rank must write to `writer`: its shards' pieces in each state, on the first replica
/// only.
void save_state(Rig& rig, CheckpointWriter& writer);

}  // namespace sherd
