#pragma once
// The choice of the next token.
#include <cstdint>
#include <span>

namespace sherd {

struct Sampling {
  double temperature = 0;  // 0: the likeliest token
  std::int64_t top_k = 0;  // among this many likeliest; 0: all
};

/// The token whose share of softmax(logits / temperature), over the top_k likeliest, contains `uniform` of [0, 1).
/// Of equal logits the lower token is the likelier. Numerical error when a logit is not finite.
std::int32_t choose_token(std::span<const float> logits, const Sampling& sampling, double uniform);

}  // namespace sherd
