#include "json.hpp"

#include <nlohmann/json.hpp>
#include <set>

#include "sherd/base/error.hpp"

namespace sherd::config {
namespace {

// Builds the tree and refuses duplicate keys, which nlohmann's own tree silently lets win.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const std::string& source) : source_(source) {}
  JsonValue take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool v) override { return add({v}); }
  bool number_integer(number_integer_t v) override { return add({static_cast<std::int64_t>(v)}); }
  bool number_unsigned(number_unsigned_t v) override {
    if (std::in_range<std::int64_t>(v)) return add({static_cast<std::int64_t>(v)});
    return add({static_cast<double>(v)});
  }
  bool number_float(number_float_t v, const string_t&) override { return add({v}); }
  bool string(string_t& v) override { return add({std::move(v)}); }
  bool binary(binary_t&) override { return false; }  // not in JSON text

  bool start_object(std::size_t) override { return open({JsonObject{}}); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open({JsonArray{}}); }
  bool end_array() override { return close(); }
  bool key(string_t& v) override {
    if (!levels_.back().keys.insert(v).second) {
      throw bad_input("{}: the key {} appears twice in one object; keep one of them", source_, json_quoted(v));
    }
    levels_.back().key = std::move(v);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    throw bad_input("{}: no valid JSON at byte {} ({}); fetch or write the file again", source_, position, e.what());
  }

 private:
  struct Level {
    JsonValue value;
    std::string key;  // of the member being read
    std::set<std::string> keys;
  };

  bool open(JsonValue container) {
    if (levels_.size() >= static_cast<std::size_t>(kMaxJsonDepth)) {
      throw bad_input("{}: nested deeper than {} levels; no file Sherd reads is", source_, kMaxJsonDepth);
    }
    levels_.push_back({std::move(container), {}, {}});
    return true;
  }
  bool close() {
    JsonValue done = std::move(levels_.back().value);
    levels_.pop_back();
    return add(std::move(done));
  }
  bool add(JsonValue v) {
    if (levels_.empty()) {
      root_ = std::move(v);
      return true;
    }
    Level& level = levels_.back();
    if (auto* array = std::get_if<JsonArray>(&level.value.value)) {
      array->push_back(std::move(v));
    } else {
      std::get<JsonObject>(level.value.value).push_back({std::move(level.key), std::move(v)});
    }
    return true;
  }

  const std::string& source_;
  JsonValue root_;
  std::vector<Level> levels_;
};

std::string full_text(const JsonValue& v) {
  if (const auto* b = v.as<bool>()) return *b ? "true" : "false";
  if (const auto* i = v.as<std::int64_t>()) return fmt::format("{}", *i);
  if (const auto* d = v.as<double>()) return json_number(*d);
  if (const auto* s = v.as<std::string>()) return json_quoted(*s);
  std::string out;
  if (const auto* array = v.as<JsonArray>()) {
    for (const JsonValue& e : *array) out += (out.empty() ? "" : ", ") + full_text(e);
    return "[" + out + "]";
  }
  if (const auto* object = v.as<JsonObject>()) {
    for (const JsonMember& m : *object) {
      out += (out.empty() ? "" : ", ") + json_quoted(m.key) + ": " + full_text(m.value);
    }
    return "{" + out + "}";
  }
  return "null";
}

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  if (const auto* object = as<JsonObject>()) {
    for (const JsonMember& m : *object) {
      if (m.key == key) return &m.value;
    }
  }
  return nullptr;
}

std::string JsonValue::text() const {
  constexpr std::size_t kLongest = 120;
  std::string out = full_text(*this);
  if (out.size() <= kLongest) return out;
  out.resize(kLongest);
  while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();  // no half characters
  return out + "...";
}

JsonValue parse_json(std::string_view text, const std::string& source) {
  TreeBuilder builder(source);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_number(double value) {
  std::string out = fmt::format("{}", value);
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

}  // namespace sherd::config
