#include "sherd/base/rng.hpp"

#include <cmath>
#include <numbers>

namespace sherd {

Random::Random(std::uint64_t seed, Purpose purpose, std::uint64_t stream) {
  const auto mixed = philox({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                             static_cast<std::uint32_t>(purpose), 0},
                            {0x53484552u, 0x44u});
  key_ = {{mixed[0], mixed[1]}, stream};
}

std::uint64_t Random::bits(std::uint64_t element) const {
  const auto r = key_.draw(element);
  return (static_cast<std::uint64_t>(r[1]) << 32) | r[0];
}

double Random::uniform(std::uint64_t element) const {
  return static_cast<double>(bits(element) >> 11) * 0x1.0p-53;
}

float Random::normal(std::uint64_t element) const {
  const auto r = key_.draw(element);
  const double u = (static_cast<double>(r[0]) + 1.0) * 0x1.0p-32, angle = static_cast<double>(r[1]) * 0x1.0p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * angle));
}

std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char ch : text) h = (h ^ static_cast<unsigned char>(ch)) * 0x100000001b3ull;
  return h;
}

}  // namespace sherd
