#pragma once
// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Every draw of a run is a pure function of (seed, purpose, stream, element), so it depends on neither rank nor order.
#include <array>
#include <cstdint>
#include <string_view>

namespace sherd {

enum class Purpose : std::uint32_t { init = 1, order = 2, split = 3, sample = 4, rounding = 5, test = 99 };

/// 128 random bits of counter under key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// Draws keyed by (seed, purpose, stream): `stream` is a step, an epoch, or the hash of a parameter's name.
class Random {
 public:
  Random(std::uint64_t seed, Purpose purpose, std::uint64_t stream);
  std::uint64_t bits(std::uint64_t element) const;
  double uniform(std::uint64_t element) const;  // [0, 1), 53 bits
  float normal(std::uint64_t element) const;    // mean 0, variance 1 (Box-Muller)

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t stream_;
};

/// FNV-1a of a name: the `stream` of a parameter's draws, the same on every machine.
std::uint64_t stable_hash(std::string_view text);

}  // namespace sherd
