#include "sherd/config/command_line.hpp"

#include <set>

#include "aliases.hpp"
#include "sherd/base/error.hpp"
#include "toml.hpp"

namespace sherd {
namespace {

struct Setting {
  const Field* field = nullptr;
  std::string value;
  std::string where;  // how messages name it: "--seed", "run.toml:3: seed"
};

const Field* lookup(const Fields& fields, const std::string& name) {
  for (const Field& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// Walks over the arguments of one subcommand and collects what they set.
class Arguments {
 public:
  Arguments(const Subcommand& command, const std::vector<std::string>& args) : command_(command), args_(args) {}

  void read() {
    while (next_ < args_.size()) {
      const std::string& arg = args_[next_++];
      if (arg.starts_with("--")) {
        read_flag(arg);
      } else {
        read_positional(arg);
      }
    }
  }

  std::vector<Setting> settings;
  std::string config_file;

 private:
  void read_flag(const std::string& arg) {
    const std::size_t equals = arg.find('=');
    const bool inline_value = equals != std::string::npos;
    const std::string typed = arg.substr(0, equals);
    const std::string name = kebab_case(typed.substr(2));
    if (inline_value) pending_ = arg.substr(equals + 1);
    has_pending_ = inline_value;

    if (name == "config") {
      config_file = value_of(typed, "a file of key = value lines");
    } else if (const config::Alias* alias = config::find_alias(name); alias && lookup(command_.fields, alias->field)) {
      settings.push_back({lookup(command_.fields, alias->field), alias->value, typed});
    } else if (const Field* field = lookup(command_.fields, name)) {
      read_field(*field, typed);
    } else if (const Field* negated = name.starts_with("no-") ? lookup(command_.fields, name.substr(3)) : nullptr;
               negated && negated->holds<bool>()) {
      settings.push_back({negated, "false", typed});
    } else {
      throw unknown_name(typed, known_flags(), "sherd " + command_.name);
    }
    if (has_pending_) throw usage_error("{} takes no value, and \"{}\" was given", typed, pending_);
  }

  void read_field(const Field& field, const std::string& typed) {
    if (field.holds<bool>()) {
      settings.push_back({&field, has_pending_ ? pending_ : "true", typed});
      has_pending_ = false;
      return;
    }
    settings.push_back({&field, value_of(typed, expectation(field)), typed});
    if (!field.holds<std::vector<std::string>>()) return;
    while (next_ < args_.size() && !args_[next_].starts_with("--")) {
      settings.push_back({&field, args_[next_++], typed});
    }
  }

  // What stands behind the =, or the next argument unless that is a flag of this subcommand.
  std::string value_of(const std::string& typed, const std::string& expected) {
    if (has_pending_) {
      has_pending_ = false;
      return pending_;
    }
    if (next_ == args_.size() || is_flag(args_[next_])) {
      throw usage_error("{} lacks its value; {} is expected", typed, expected);
    }
    return args_[next_++];
  }

  bool is_flag(const std::string& arg) const {
    const std::vector<std::string> known = known_flags();
    return std::find(known.begin(), known.end(), kebab_case(arg.substr(0, arg.find('=')))) != known.end();
  }

  std::vector<std::string> known_flags() const {
    std::vector<std::string> known = {"--config", "--help"};
    for (const Field& field : command_.fields) {
      known.push_back("--" + field.name);
      if (field.holds<bool>()) known.push_back("--no-" + field.name);
    }
    for (const config::Alias& alias : config::kAliases) {
      if (lookup(command_.fields, alias.field)) known.push_back("--" + std::string(alias.flag));
    }
    return known;
  }

  void read_positional(const std::string& arg) {
    const Field* field = lookup(command_.fields, command_.positional);
    if (!field) {
      throw usage_error("sherd {}: \"{}\" belongs to no flag; flags begin with two dashes", command_.name, arg);
    }
    settings.push_back({field, arg, command_.positional});
  }

  const Subcommand& command_;
  const std::vector<std::string>& args_;
  std::size_t next_ = 1;  // args_[0] is the subcommand
  std::string pending_;   // the value behind an =, until it is used
  bool has_pending_ = false;
};

bool kind_fits(const Field& field, config::TomlSetting::Kind kind) {
  using Kind = config::TomlSetting::Kind;
  if (field.holds<bool>()) return kind == Kind::boolean;
  if (field.holds<std::string>()) return kind == Kind::text;
  if (field.holds<std::vector<std::string>>()) return kind == Kind::text || kind == Kind::texts;
  return kind == Kind::number;
}

std::vector<Setting> settings_of_file(const Fields& fields, const std::string& path) {
  std::vector<Setting> settings;
  for (const config::TomlSetting& s : config::read_toml(path)) {
    const std::string where = fmt::format("{}:{}", path, s.line);
    const Field& field = find_field(fields, s.key, where);
    if (!kind_fits(field, s.kind)) {
      const std::string value = s.values.empty() ? "[]" : s.values.front();
      const bool text = s.kind == config::TomlSetting::Kind::text;
      throw usage_error("{}: {} is {}{}{}; {} is expected{}", where, s.key, text ? "\"" : "", value, text ? "\"" : "",
                        expectation(field), field.holds<std::string>() ? ", in \"quotes\"" : "");
    }
    for (const std::string& value : s.values) settings.push_back({&field, value, where + ": " + s.key});
  }
  return settings;
}

void apply(const std::vector<Setting>& settings) {
  std::set<const Field*> begun;  // a list from this source replaces the list from the one before
  for (const Setting& s : settings) {
    if (auto* const* list = std::get_if<std::vector<std::string>*>(&s.field->target);
        list && begun.insert(s.field).second) {
      (*list)->clear();
    }
    set_field(*s.field, s.value, s.where);
  }
}

std::string last_preset(const std::vector<Setting>& settings, std::string preset) {
  for (const Setting& s : settings) {
    if (s.field->name == "preset") preset = s.value;
  }
  return preset;
}

const Subcommand& chosen(const std::vector<Subcommand>& offered, const std::string& name) {
  std::vector<std::string> known;
  for (const Subcommand& command : offered) {
    if (command.name == name) return command;
    known.push_back(command.name);
  }
  throw unknown_name(name, known, "sherd");
}

}  // namespace

const Subcommand& parse_command_line(const std::vector<Subcommand>& offered, const std::vector<std::string>& args) {
  if (args.empty()) throw usage_error("no subcommand; sherd --help lists them");
  const Subcommand& command = chosen(offered, args.front());
  Arguments typed(command, args);
  typed.read();
  std::vector<Setting> from_file;
  if (!typed.config_file.empty()) from_file = settings_of_file(command.fields, typed.config_file);
  if (command.train) {
    apply_preset(*command.train, last_preset(typed.settings, last_preset(from_file, command.train->preset)));
  }
  apply(from_file);
  apply(typed.settings);
  check_fields(command.fields);
  return command;
}

}  // namespace sherd
