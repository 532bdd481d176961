#pragma once
// One micro-batch on the host. (B, T) is constant over a run, so shapes are static.
#include <cstdint>
#include <vector>

namespace sherd {

struct HostBatch {
  std::int64_t batch = 0, length = 0;   // B, T
  std::vector<std::int32_t> tokens;     // (B, T)
  std::vector<std::int32_t> targets;    // (B, T), the next token of the same document; -1: no target
  std::vector<std::int32_t> doc_start;  // (B, T), index in its row where the token's document begins
  std::int64_t valid = 0;               // targets >= 0

  HostBatch() = default;
  HostBatch(std::int64_t b, std::int64_t t)
      : batch(b),
        length(t),
        tokens(static_cast<std::size_t>(b * t)),
        targets(tokens.size(), -1),
        doc_start(tokens.size()) {}
};

}  // namespace sherd
