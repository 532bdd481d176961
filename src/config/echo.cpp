#include "sherd/config/echo.hpp"

#include "json.hpp"
#include "sherd/base/error.hpp"
#include "sherd/config/fields.hpp"

namespace sherd {
namespace {

std::string json_value(const Field& field) {
  if (field.holds<std::string>()) return config::json_quoted(value_text(field));
  if (const auto* d = std::get_if<double*>(&field.target)) return config::json_number(**d);
  return value_text(field);
}

// A text for a text, a number for a number, a truth value for a flag.
bool same_kind(const Field& field, const config::JsonValue& v) {
  if (field.holds<std::string>()) return v.as<std::string>() != nullptr;
  if (field.holds<bool>()) return v.as<bool>() != nullptr;
  if (field.holds<double>()) return v.as<double>() || v.as<std::int64_t>();
  return v.as<std::int64_t>() != nullptr;
}

void read_member(const Fields& fields, const config::JsonMember& member, const std::string& source) {
  const Field& field = find_field(fields, member.key, source);
  const auto* text = member.value.as<std::string>();
  const std::string value = text ? *text : member.value.text();
  if (!same_kind(field, member.value)) {
    throw bad_input("{}: {} is {}; {} is expected", source, field.name, member.value.text(), expectation(field));
  }
  if (text && field.choices.empty()) {
    **std::get_if<std::string*>(&field.target) = value;  // also empty, where a command would demand one
  } else {
    set_field(field, value, fmt::format("{}: {}", source, field.name));
  }
}

}  // namespace

std::string to_json(const TrainConfig& config) {
  TrainConfig copy = config;
  std::string out;
  for (const Field& field : fields_of(copy)) {
    out += fmt::format("{}\n  {}: {}", out.empty() ? "" : ",", config::json_quoted(field.name), json_value(field));
  }
  return "{" + out + "\n}\n";
}

TrainConfig train_config_from_json(std::string_view text, const std::string& source) {
  const config::JsonValue root = config::parse_json(text, source);
  const auto* members = root.as<config::JsonObject>();
  if (!members) throw bad_input("{}: {}; a JSON object is expected", source, root.text());
  TrainConfig c;
  const Fields fields = fields_of(c);
  for (const config::JsonMember& member : *members) {
    try {
      read_member(fields, member, source);
    } catch (const Error& e) {  // what is a usage error on the command line is bad input in a file
      throw Error(ExitCode::bad_input, e.what(), e.where());
    }
  }
  return c;
}

std::vector<std::string> differing_fields(std::string_view a, std::string_view b) {
  TrainConfig first = train_config_from_json(a, "first configuration");
  TrainConfig second = train_config_from_json(b, "second configuration");
  const Fields fields = fields_of(first), others = fields_of(second);
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::string left = json_value(fields[i]), right = json_value(others[i]);
    if (left != right) lines.push_back(fmt::format("{}: {} and {}", fields[i].name, left, right));
  }
  return lines;
}

}  // namespace sherd
