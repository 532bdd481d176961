#pragma once
// What the main functions of the chess programs share.
#include <CLI/CLI.hpp>
#include <functional>

namespace sherd::chess {

/// Parses the flags and runs; what is thrown becomes one line on standard error, and Sherd's exit codes.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& run);

}  // namespace sherd::chess
