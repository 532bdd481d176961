#pragma once
// Text that looks like the chess corpus: UCI moves, distributed unevenly, and a result.
#include <string>
#include <vector>

#include "sherd/base/rng.hpp"

namespace sherd::test {

inline std::string game(std::uint64_t number) {
  const Random random(1, Purpose::test, number);
  const auto plies = 20 + random.bits(0) % 180;
  std::string text;
  for (std::uint64_t i = 1; i <= plies; ++i) {
    const std::uint64_t draw = random.bits(i);
    const double u = random.uniform(i + 1000);
    const auto from = static_cast<std::uint64_t>(u * u * 64), to = (from + 1 + draw % 20) % 64;
    for (const std::uint64_t square : {from, to}) {
      text += static_cast<char>('a' + square % 8);
      text += static_cast<char>('1' + square / 8);
    }
    if (draw % 300 == 0) text += 'q';
    text += ' ';
  }
  constexpr const char* results[] = {"1-0", "0-1", "1/2-1/2"};
  return text + results[random.bits(3) % 3];
}

inline std::vector<std::string> games(std::uint64_t count) {
  std::vector<std::string> all;
  for (std::uint64_t i = 0; i < count; ++i) all.push_back(game(i));
  return all;
}

}  // namespace sherd::test
