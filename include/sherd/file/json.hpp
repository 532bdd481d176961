#pragma once
// Reading JSON that may be hostile: bounded size and depth, no duplicate keys (parsers disagree about which one
// counts), and every access checked, with the file and the key in the message. The parser's own headers stay out of
// ours.
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

/// One value inside a JsonDocument, which must outlive it. Every accessor throws bad_input if the value is of another
/// kind.
class JsonValue {
 public:
  bool is_null() const;
  bool is_boolean() const;
  bool is_integer() const;  // a number without fraction or exponent, within int64
  bool is_number() const;
  bool is_string() const;
  bool is_array() const;
  bool is_object() const;

  bool boolean() const;
  std::int64_t integer(std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t most = std::numeric_limits<std::int64_t>::max()) const;
  double number() const;
  std::string string() const;

  std::size_t size() const;               // of an array or an object
  JsonValue at(std::size_t index) const;  // of an array
  bool has(std::string_view key) const;   // of an object
  JsonValue at(std::string_view key) const;
  std::vector<std::string> keys() const;  // of an object, sorted

  std::string dump() const;                            // the value as compact JSON
  const std::string& where() const { return where_; }  // "config.json: rope_scaling.factor"

 private:
  friend class JsonDocument;
  JsonValue(const void* node, std::string where) : node_(node), where_(std::move(where)) {}
  const void* node_;
  std::string where_;
};

class JsonDocument {
 public:
  static constexpr std::int64_t kLimit = 100'000'000;  // bytes; what safetensors allows for its header
  /// `what` names the text in messages. bad_input if it is not exactly one JSON value in UTF-8.
  static JsonDocument parse(std::string_view text, const std::string& what);
  static JsonDocument load(const std::filesystem::path& path, std::int64_t limit = kLimit);
  JsonDocument(JsonDocument&&) noexcept;
  ~JsonDocument();
  JsonValue root() const;

 private:
  struct Impl;
  explicit JsonDocument(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A string as a JSON literal, quotes included. bad_input if it is not UTF-8.
std::string json_quote(std::string_view text);

}  // namespace sherd
