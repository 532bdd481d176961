#pragma once
// Log lines. Only rank 0 prints info; every rank prints warnings and errors, with its rank in front.
#include <fmt/core.h>

#include <functional>
#include <string>
#include <string_view>

namespace sherd::log {

enum class Level { debug, info, warn, error };

/// Called once after MPI has told who we are; before it, the process counts as rank 0 of 1.
void init(int rank, int world_size);
void set_level(Level least);
/// Warnings and errors as whole lines to someone who draws on the terminal; empty: to standard error again.
void redirect_trouble(std::function<void(const std::string&)> take);
void write(Level level, std::string_view line);

/// With '?' for what a terminal would obey: names in files and answers of servers get into messages. Every line that is
/// written goes through this.
std::string printable(std::string_view text);

template <class... Args>
void debug(fmt::format_string<Args...> f, Args&&... args) {
  write(Level::debug, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> f, Args&&... args) {
  write(Level::info, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> f, Args&&... args) {
  write(Level::warn, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> f, Args&&... args) {
  write(Level::error, fmt::format(f, std::forward<Args>(args)...));
}

}  // namespace sherd::log
