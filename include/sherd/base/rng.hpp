#pragma once
// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Every draw of a run is a pure function of (seed, purpose, stream, element), so it depends on neither rank nor order.
#include <array>
#include <cstdint>
#include <string_view>

namespace sherd {

enum class Purpose : std::uint32_t { init = 1, order = 2, split = 3, sample = 4, rounding = 5, test = 99 };

/// 128 random bits of counter under key. Here, since kernels draw with it, too.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * counter[0], p1 = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// What the draws of a (seed, purpose, stream) are keyed by.
struct PhiloxKey {
  std::array<std::uint32_t, 2> key{};
  std::uint64_t stream = 0;
  constexpr std::array<std::uint32_t, 4> draw(std::uint64_t element) const {
    return philox({static_cast<std::uint32_t>(element), static_cast<std::uint32_t>(element >> 32),
                   static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                  key);
  }
};

/// Draws keyed by (seed, purpose, stream): `stream` is a step, an epoch, or the hash of a parameter's name.
class Random {
 public:
  Random(std::uint64_t seed, Purpose purpose, std::uint64_t stream);
  std::uint64_t bits(std::uint64_t element) const;
  double uniform(std::uint64_t element) const;  // [0, 1), 53 bits
  float normal(std::uint64_t element) const;    // mean 0, variance 1 (Box-Muller)
  const PhiloxKey& key() const { return key_; }

 private:
  PhiloxKey key_;
};

/// FNV-1a of a name: the `stream` of a parameter's draws, the same on every machine.
std::uint64_t stable_hash(std::string_view text);

}  // namespace sherd
