#pragma once
// The command line: which subcommand, and its settings from preset, --config file and flags, each overriding the one
// before. Flags are field names; underscores count as dashes, and the reference demo's own spellings are known.
#include <functional>
#include <string>
#include <vector>

#include "sherd/config/fields.hpp"

namespace sherd {

struct Subcommand {
  std::string name;
  std::string summary;           // one line of --help
  Fields fields;                 // of a config struct that outlives this
  TrainConfig* train = nullptr;  // the part of that struct that presets set, if any
  std::string positional{};      // field that arguments without a flag set; empty: there are none
  bool parallel = false;         // runs on all MPI ranks
  std::function<int()> run{};    // returns the exit code
};

/// True when only a text is asked for (--help, --version, or nothing at all): no MPI is needed to answer.
bool asks_for_text(const std::vector<std::string>& args);
/// What --help prints, of the program, or of the subcommand that the arguments name.
std::string help_text(const std::vector<Subcommand>& offered, const std::vector<std::string>& args);

/// Sets the fields of the subcommand that `args` (without the program's name) begin with, and checks every value.
/// Unknown names are usage errors that name the nearest known one; a wrong value's names where it stands and what is
/// expected.
const Subcommand& parse_command_line(const std::vector<Subcommand>& offered, const std::vector<std::string>& args);

}  // namespace sherd
