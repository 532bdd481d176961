#include "sherd/file/json.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "sherd/base/error.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

using Node = nlohmann::json;

constexpr int kDeepest = 64;

const Node& node(const void* p) {
  return *static_cast<const Node*>(p);
}

/// What the parser calls on its way: refuses duplicate keys and deep nesting while nothing has been built of them yet.
class Guard {
 public:
  explicit Guard(const std::string& what) : what_(what) {}
  bool operator()(int depth, Node::parse_event_t event, Node& parsed) {
    using E = Node::parse_event_t;
    if (depth > kDeepest) throw bad_input("{}: JSON nested deeper than {}", what_, kDeepest);
    if (event == E::object_start) keys_.emplace_back();
    if (event == E::object_end) keys_.pop_back();
    if (event == E::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw bad_input("{}: the key \"{}\" appears twice in one object", what_, parsed.get<std::string>());
    }
    return true;
  }

 private:
  const std::string& what_;
  std::vector<std::set<std::string>> keys_;
};

Error wrong_kind(const JsonValue& value, const char* expected) {
  std::string found = value.dump();
  if (found.size() > 60) found = found.substr(0, 57) + "...";
  return bad_input("{}: expected {}, found {}", value.where(), expected, found);
}

}  // namespace

struct JsonDocument::Impl {
  Node root;
  std::string what;
};

JsonDocument::JsonDocument(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::parse(std::string_view text, const std::string& what) {
  auto impl = std::make_unique<Impl>();
  impl->what = what;
  try {
    impl->root = Node::parse(text.begin(), text.end(), Guard(what));
  } catch (const Node::exception& e) {
    throw bad_input("{}: not valid JSON: {}", what, e.what());
  }
  return JsonDocument(std::move(impl));
}

JsonDocument JsonDocument::load(const std::filesystem::path& path, std::int64_t limit) {
  return parse(read_text(path, limit), path.string());
}

JsonValue JsonDocument::root() const {
  return {&impl_->root, impl_->what + ":"};
}

bool JsonValue::is_null() const {
  return node(node_).is_null();
}
bool JsonValue::is_boolean() const {
  return node(node_).is_boolean();
}
bool JsonValue::is_number() const {
  return node(node_).is_number();
}
bool JsonValue::is_string() const {
  return node(node_).is_string();
}
bool JsonValue::is_array() const {
  return node(node_).is_array();
}
bool JsonValue::is_object() const {
  return node(node_).is_object();
}
bool JsonValue::is_integer() const {
  const Node& n = node(node_);
  if (n.is_number_unsigned()) return std::in_range<std::int64_t>(n.get<std::uint64_t>());
  return n.is_number_integer();
}

bool JsonValue::boolean() const {
  if (!is_boolean()) throw wrong_kind(*this, "true or false");
  return node(node_).get<bool>();
}

std::int64_t JsonValue::integer(std::int64_t least, std::int64_t most) const {
  if (!is_integer()) throw wrong_kind(*this, "an integer");
  const auto value = node(node_).get<std::int64_t>();
  if (value < least || value > most) {
    throw bad_input("{}: {} is outside of [{}, {}]", where_, value, least, most);
  }
  return value;
}

double JsonValue::number() const {
  if (!is_number()) throw wrong_kind(*this, "a number");
  return node(node_).get<double>();
}

std::string JsonValue::string() const {
  if (!is_string()) throw wrong_kind(*this, "a string");
  return node(node_).get<std::string>();
}

std::size_t JsonValue::size() const {
  if (!is_array() && !is_object()) throw wrong_kind(*this, "an array or an object");
  return node(node_).size();
}

JsonValue JsonValue::at(std::size_t index) const {
  if (!is_array()) throw wrong_kind(*this, "an array");
  if (index >= size()) throw bad_input("{}: has {} elements, number {} is missing", where_, size(), index);
  return {&node(node_)[index], fmt::format("{}[{}]", where_, index)};
}

bool JsonValue::has(std::string_view key) const {
  if (!is_object()) throw wrong_kind(*this, "an object");
  return node(node_).contains(key);
}

JsonValue JsonValue::at(std::string_view key) const {
  if (!has(key)) throw bad_input("{}: the key \"{}\" is missing", where_, key);
  const char* joint = where_.back() == ':' ? " " : ".";
  return {&*node(node_).find(key), fmt::format("{}{}{}", where_, joint, key)};
}

std::vector<std::string> JsonValue::keys() const {
  if (!is_object()) throw wrong_kind(*this, "an object");
  std::vector<std::string> names;
  for (const auto& item : node(node_).items()) names.push_back(item.key());
  return names;
}

std::string JsonValue::dump() const {
  return node(node_).dump(-1, ' ', false, Node::error_handler_t::replace);
}

std::string json_quote(std::string_view text) {
  try {
    return Node(text).dump();
  } catch (const Node::exception&) {
    throw bad_input("a string of {} bytes is not UTF-8", text.size());
  }
}

}  // namespace sherd
