// What --help prints.
#include <sstream>

#include "aliases.hpp"
#include "sherd/config/command_line.hpp"

namespace sherd {
namespace {

constexpr std::size_t kHelpColumn = 38, kWidth = 110;

std::string flag_text(const Field& field) {
  if (field.holds<bool>()) return fmt::format("--[no-]{}", field.name);
  if (field.holds<std::int64_t>()) return fmt::format("--{} N", field.name);
  if (field.holds<double>()) return fmt::format("--{} X", field.name);
  return fmt::format("--{} TEXT{}", field.name, field.holds<std::vector<std::string>>() ? "..." : "");
}

std::string description(const Field& field) {
  std::string out = field.help;
  if (!field.choices.empty() && out.find(field.choices.front()) == std::string::npos) {
    out += "; " + expectation(field);
  }
  if (field.required) return out + " (required)";
  const std::string value = value_text(field);
  return value.empty() ? out : out + fmt::format(" [{}]", value);
}

// "  flag   description", the description wrapped beside the flag.
std::string entry(const std::string& flag, const std::string& text) {
  std::string out = "  " + flag;
  std::size_t column = out.size();
  if (column + 2 > kHelpColumn) {
    out += '\n';
    column = 0;
  }
  out.append(kHelpColumn - column, ' ');
  column = kHelpColumn;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > kHelpColumn && column + 1 + word.size() > kWidth) {
      out += "\n" + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    } else if (column > kHelpColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string help_of(const Subcommand& command) {
  const std::string positional = command.positional.empty() ? "" : fmt::format(" [{}]", command.positional);
  std::string out = fmt::format("sherd {}: {}\n\nusage: sherd {}{} [--config FILE] [--FLAG VALUE]...\n", command.name,
                                command.summary, command.name, positional);
  std::string group;
  for (const Field& field : command.fields) {
    if (field.group != group) out += "\n" + (group = field.group) + "\n";
    out += entry(flag_text(field), description(field));
  }
  out += "\nOther\n" + entry("--config FILE", "key = value lines (TOML) with the names above; flags override them");
  for (const config::Alias& alias : config::kAliases) {
    for (const Field& field : command.fields) {
      if (field.name == alias.field) {
        out += entry(fmt::format("--{}", alias.flag), fmt::format("the same as --{} {}", alias.field, alias.value));
      }
    }
  }
  return out + entry("--help", "this text") + "\nUnderscores count as dashes: --max_seq_length is --max-seq-length.\n";
}

}  // namespace

bool asks_for_text(const std::vector<std::string>& args) {
  if (args.empty()) return true;
  for (const std::string& arg : args) {
    if (arg == "--help" || arg == "-h" || arg == "--version") return true;
  }
  return args.front() == "help";
}

std::string help_text(const std::vector<Subcommand>& offered, const std::vector<std::string>& args) {
  for (const Subcommand& command : offered) {  // sherd train --help, or sherd help train
    const auto end = args.begin() + std::min<std::ptrdiff_t>(std::ssize(args), 2);
    if (std::find(args.begin(), end, command.name) != end) return help_of(command);
  }
  std::string out =
      "sherd: fine-tunes Llama models, sharded over MPI ranks\n\nusage: sherd SUBCOMMAND [--FLAG VALUE]...\n\n";
  for (const Subcommand& command : offered) out += entry(command.name, command.summary);
  return out + entry("--help", "this text; sherd SUBCOMMAND --help lists its flags") +
         entry("--version", "versions of sherd and of the libraries it runs on");
}

}  // namespace sherd
