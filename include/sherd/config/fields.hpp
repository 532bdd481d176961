#pragma once
// The fields of the configuration structs, each listed once: flags, TOML keys, --help, validation and the echo in a
// checkpoint all read these lists. Tests prove that no member of a struct is missing.
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/config/subcommands.hpp"
#include "sherd/config/train_config.hpp"

namespace sherd {

/// What a number may be.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};

/// One member of a config struct, by pointer: valid as long as the struct is.
struct Field {
  using Target = std::variant<std::string*, std::int64_t*, double*, bool*, std::vector<std::string>*>;
  std::string name;   // kebab-case: the flag without its dashes, and the TOML key
  std::string group;  // heading in --help
  Target target;
  std::string help;
  Range range{};                       // numbers only
  std::vector<std::string> choices{};  // strings only; empty: any
  bool required = false;               // strings and lists only: may not stay empty

  template <class T>
  bool holds() const {
    return std::holds_alternative<T*>(target);
  }
};
using Fields = std::vector<Field>;

Fields fields_of(TrainConfig& config);
Fields fields_of(PrepareConfig& config);
Fields fields_of(GenerateConfig& config);
Fields fields_of(ExportConfig& config);
Fields fields_of(InspectConfig& config);
Fields fields_of(PlanConfig& config);

/// The arithmetic of a preset, to be set before what the user says. Usage error for an unknown name.
void apply_preset(TrainConfig& config, std::string_view preset);
/// What the user's own settings changed of the arithmetic of `demo-compat`: "learning-rate: 1e-05 and 0.003", the
/// preset's value first. Empty for other presets.
std::vector<std::string> changed_from_preset(const TrainConfig& config);

/// The field of this name (dashes and underscores are the same), or a usage error that names the nearest one and
/// `where`.
const Field& find_field(const Fields& fields, std::string_view name, std::string_view where);
/// max_seq_length -> max-seq-length
std::string kebab_case(std::string_view name);
/// The name among `known` that takes the fewest edits to become `name`; empty when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

/// A usage error that says so, and names the nearest known one.
Error unknown_name(std::string_view name, const std::vector<std::string>& known, std::string_view where);

/// Sets a field from what was typed: text for strings, decimal digits, true or false. A list gains one element.
/// A text that is no such value is a usage error, which begins with `where` ("--seed", "run.toml:3: seed").
void set_field(const Field& field, std::string_view text, std::string_view where);
/// What the field expects, for messages: "an integer from 0 to 9".
std::string expectation(const Field& field);
/// The value, as set_field reads it.
std::string value_text(const Field& field);

/// Checks ranges, choices and required values of every field; the error names field, value and what is expected.
void check_fields(const Fields& fields);

}  // namespace sherd
