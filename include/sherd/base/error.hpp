#pragma once
// Errors: every failure is a sherd::Error that travels up to main(), the only place that catches. A message says what
// was found, what was expected and what to do. The exit codes are part of the program's interface (README, "Exit
// codes").
#include <fmt/core.h>

#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace sherd {

enum class ExitCode : int {
  done = 0,
  internal = 1,       // a bug of ours: an invariant of the program does not hold
  usage = 2,          // flags or configuration
  bad_input = 3,      // a file is missing, damaged, or does not fit the others
  does_not_fit = 4,   // not enough memory or disk
  communication = 5,  // a peer did not arrive, or MPI failed
  numerical = 6,      // NaN or infinity in the loss or the gradient norm
  hardware = 7,       // a device has failed: its node wants looking after
  requeue = 85,       // checkpointed, wants to be started again
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, std::source_location at = std::source_location::current())
      : std::runtime_error(message), code_(code), at_(at) {}
  ExitCode code() const { return code_; }
  const std::source_location& where() const { return at_; }

  /// For an error that every rank throws: `rank`, where it comes from, tells it for all.
  Error told_by(int rank) && {
    teller_ = rank;
    return std::move(*this);
  }
  int teller() const { return teller_; }  // -1: whoever throws it

 private:
  ExitCode code_;
  int teller_ = -1;
  std::source_location at_;
};

/// A format string that remembers where it was written, so that the functions below can be variadic.
template <class... Args>
struct LocatedFormat {
  fmt::format_string<Args...> text;
  std::source_location at;
  template <class S>
  consteval LocatedFormat(const S& s, std::source_location where = std::source_location::current())
      : text(s), at(where) {}
};

/// throw bad_input("{}: {} bytes, the header promises {}; fetch the file again", path, size, promised);
template <class... Args>
Error bad_input(LocatedFormat<std::type_identity_t<Args>...> f, Args&&... args) {
  return {ExitCode::bad_input, fmt::format(f.text, std::forward<Args>(args)...), f.at};
}
template <class... Args>
Error usage_error(LocatedFormat<std::type_identity_t<Args>...> f, Args&&... args) {
  return {ExitCode::usage, fmt::format(f.text, std::forward<Args>(args)...), f.at};
}
template <class... Args>
Error does_not_fit(LocatedFormat<std::type_identity_t<Args>...> f, Args&&... args) {
  return {ExitCode::does_not_fit, fmt::format(f.text, std::forward<Args>(args)...), f.at};
}
template <class... Args>
Error comm_error(LocatedFormat<std::type_identity_t<Args>...> f, Args&&... args) {
  return {ExitCode::communication, fmt::format(f.text, std::forward<Args>(args)...), f.at};
}
template <class... Args>
Error numerical_error(LocatedFormat<std::type_identity_t<Args>...> f, Args&&... args) {
  return {ExitCode::numerical, fmt::format(f.text, std::forward<Args>(args)...), f.at};
}

[[noreturn]] void check_failed(const char* expression, const std::string& message,
                               std::source_location at = std::source_location::current());

}  // namespace sherd

/// Invariants of the program; never compiled out. SHERD_CHECK(n % 128 == 0, "shard of {} elements", n);
#define SHERD_CHECK(cond, ...) \
  (static_cast<bool>(cond) ? void() : ::sherd::check_failed(#cond, fmt::format(__VA_ARGS__)))
