#pragma once
// JSON as the config layer reads it: a small tree of values. The parser behind it is nlohmann's, which only json.cpp
// sees.
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace sherd::config {

struct JsonValue;
struct JsonMember;
using JsonArray = std::vector<JsonValue>;
using JsonObject = std::vector<JsonMember>;  // in the order of the text

struct JsonValue {
  std::variant<std::monostate, bool, std::int64_t, double, std::string, JsonArray, JsonObject> value;

  bool is_null() const { return std::holds_alternative<std::monostate>(value); }
  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  /// The member of this name; null when there is none or this is no object.
  const JsonValue* find(std::string_view key) const;
  /// The value as JSON text, cut to what fits in an error message.
  std::string text() const;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

/// Parses hostile text: at most kMaxJsonDepth levels, no duplicate keys, nothing after the value. Errors name `source`.
inline constexpr int kMaxJsonDepth = 32;
JsonValue parse_json(std::string_view text, const std::string& source);

/// "text" with quotes and escapes.
std::string json_quoted(std::string_view text);
/// The shortest decimal that reads back as the same number, always with a point or an exponent.
std::string json_number(double value);

}  // namespace sherd::config
