#pragma once
// Mutations of valid inputs: a function of (target, run), so that a failure is repeated by its number.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "sherd/base/rng.hpp"

namespace sherd::test {

class Mutator {
 public:
  Mutator(std::string_view target, std::uint64_t run) : random_(run, Purpose::test, stable_hash(target)) {}

  /// One of the seeds, changed in 1 to 8 places.
  std::string mutate(const std::vector<std::string>& seeds) {
    std::string bytes = seeds[below(seeds.size())];
    for (std::uint64_t changes = 1 + below(8); changes > 0; --changes) change(bytes, seeds[below(seeds.size())]);
    return bytes;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random_.bits(draw_++) % n; }

  void change(std::string& bytes, const std::string& other) {
    const std::size_t at = below(bytes.size() + 1), n = below(std::min<std::uint64_t>(bytes.size() - at, 64) + 1);
    switch (below(7)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(below(256));
        break;
      case 2:
        bytes.erase(at, n);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, n));
        break;
      case 4:
        bytes.insert(at, telling(below(kTelling.size())));
        break;
      case 5:
        bytes.replace(at, n, other.substr(below(other.size() + 1), 64));
        break;
      default:
        overwrite_integer(bytes, at);
    }
  }

  /// Lengths and offsets that wrap, of 1 to 8 bytes.
  void overwrite_integer(std::string& bytes, std::size_t at) {
    static constexpr std::array<std::uint64_t, 8> values = {
        0, 1, 0x7f, 0xff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
    const std::uint64_t value = values[below(values.size())], width = std::uint64_t{1} << below(4);
    for (std::uint64_t i = 0; i < width && at + i < bytes.size(); ++i) {
      bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
    }
  }

  static constexpr std::array kTelling = {"-1",
                                          "9223372036854775807",
                                          "18446744073709551616",
                                          "1e999",
                                          "\"",
                                          "\\u",
                                          "\\ud800",
                                          "[[[[[[[[",
                                          "{\"a\":",
                                          "../",
                                          ",",
                                          "\n",
                                          "null",
                                          "\xff\xfe",
                                          "0x",
                                          "nan",
                                          "]",
                                          "}"};
  static std::string telling(std::uint64_t i) { return kTelling[i]; }

  Random random_;
  std::uint64_t draw_ = 0;
};

}  // namespace sherd::test
