#include "sherd/base/rng.hpp"

#include <cmath>
#include <numbers>

namespace sherd {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

Random::Random(std::uint64_t seed, Purpose purpose, std::uint64_t stream) : stream_(stream) {
  const auto mixed = philox({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                             static_cast<std::uint32_t>(purpose), 0},
                            {0x53484552u, 0x44u});
  key_ = {mixed[0], mixed[1]};
}

static std::array<std::uint32_t, 4> draw(std::uint64_t element, std::uint64_t stream,
                                         std::array<std::uint32_t, 2> key) {
  return philox({static_cast<std::uint32_t>(element), static_cast<std::uint32_t>(element >> 32),
                 static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                key);
}

std::uint64_t Random::bits(std::uint64_t element) const {
  const auto r = draw(element, stream_, key_);
  return (static_cast<std::uint64_t>(r[1]) << 32) | r[0];
}

double Random::uniform(std::uint64_t element) const {
  return static_cast<double>(bits(element) >> 11) * 0x1.0p-53;
}

float Random::normal(std::uint64_t element) const {
  const auto r = draw(element, stream_, key_);
  const double u = (static_cast<double>(r[0]) + 1.0) * 0x1.0p-32, angle = static_cast<double>(r[1]) * 0x1.0p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * angle));
}

std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char ch : text) h = (h ^ static_cast<unsigned char>(ch)) * 0x100000001b3ull;
  return h;
}

}  // namespace sherd
