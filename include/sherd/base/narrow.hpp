#pragma once
// Checked integers. Sizes are int64_t inside the program; narrow<> guards the boundaries to MPI, BLAS and files.
#include <cstdint>
#include <utility>

#include "sherd/base/error.hpp"

namespace sherd {

/// The same value in another integer type, or an Error.
template <class To, class From>
constexpr To narrow(From value) {
  SHERD_CHECK(std::in_range<To>(value), "{} does not fit in {} bytes", value, sizeof(To));
  return static_cast<To>(value);
}

constexpr std::int64_t div_exact(std::int64_t a, std::int64_t b) {
  SHERD_CHECK(b != 0 && a % b == 0, "{} is not a multiple of {}", a, b);
  return a / b;
}
constexpr std::int64_t div_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t multiple) {
  return div_up(a, multiple) * multiple;
}

/// a * b for counts that come from files: an Error instead of a wrap-around.
constexpr std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  SHERD_CHECK(!__builtin_mul_overflow(a, b, &product), "{} * {} overflows", a, b);
  return product;
}
constexpr std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  SHERD_CHECK(!__builtin_add_overflow(a, b, &sum), "{} + {} overflows", a, b);
  return sum;
}

}  // namespace sherd
