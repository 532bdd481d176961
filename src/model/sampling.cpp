#include "sherd/model/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd {

std::int32_t choose_token(std::span<const float> logits, const Sampling& sampling, double uniform) {
  SHERD_CHECK(!logits.empty() && uniform >= 0 && uniform < 1, "{} logits, drawn {}", logits.size(), uniform);
  if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
    throw numerical_error("the model's logits are not finite; its weights are damaged or its training diverged");
  }
  if (sampling.temperature == 0) {
    return narrow<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const std::int64_t all = std::ssize(order), kept = sampling.top_k > 0 ? std::min(sampling.top_k, all) : all;
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), likelier);
  order.resize(static_cast<std::size_t>(kept));
  const auto exponent = [&](std::int32_t token) {
    return (static_cast<double>(logits[static_cast<std::size_t>(token)]) -
            static_cast<double>(logits[static_cast<std::size_t>(order.front())])) /
           sampling.temperature;
  };
  double total = 0;
  for (const std::int32_t token : order) total += std::exp(exponent(token));
  double reached = 0;
  for (const std::int32_t token : order) {
    reached += std::exp(exponent(token));
    if (uniform * total < reached) return token;
  }
  return order.back();  // rounding
}

}  // namespace sherd
