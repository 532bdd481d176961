#pragma once
// The frequencies of the rotary embedding, for all backends.
#include <cmath>
#include <numbers>

#include "sherd/ops/ops.hpp"

namespace sherd {

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
inline double rope_frequency(const RopeConfig& config, std::int64_t j, std::int64_t half) {
  const double f = std::pow(config.theta, -static_cast<double>(j) / static_cast<double>(half));
  if (!config.llama3) return f;
  const double wavelength = 2.0 * std::numbers::pi / f;
  const double original = static_cast<double>(config.original_max_position);
  if (wavelength < original / config.high_freq_factor) return f;
  if (wavelength > original / config.low_freq_factor) return f / config.factor;
  const double smooth =
      (original / wavelength - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  return (1.0 - smooth) * f / config.factor + smooth * f;
}

}  // namespace sherd
