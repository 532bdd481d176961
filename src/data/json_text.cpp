// A checking JSON scanner that builds nothing but the one string asked for: 100 MB of JSON lines must not cost a tenth
// of their tokenisation.
#include "json_text.hpp"

#include <cstdint>

namespace sherd {
namespace {

constexpr int kMaxDepth = 64;

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  const char* object_with_field(std::string_view name, std::string& value) {
    space();
    if (!eat('{')) return "not a JSON object";
    bool found = false;
    if (!members(1, name, &value, found)) return complaint_;
    space();
    if (at_ != text_.size()) return "something follows the JSON object";
    return found ? nullptr : "the object has no field \"text\"";
  }

 private:
  bool fail(const char* complaint) {
    complaint_ = complaint;
    return false;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool eat(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n'))
      ++at_;
  }

  /// After '{'. With `value`, the member `name` must be a string, there once, and is stored.
  bool members(int depth, std::string_view name, std::string* value, bool& found) {
    space();
    if (eat('}')) return true;
    std::string key;
    do {
      space();
      if (!string(value != nullptr ? &key : nullptr)) return false;
      space();
      if (!eat(':')) return fail("expected ':' after a field's name");
      space();
      if (value != nullptr && key == name) {
        if (found) return fail("the field \"text\" occurs twice");
        found = true;
        if (peek() != '"') return fail("the field \"text\" is not a string");
        if (!string(value)) return false;
      } else if (!this->value(depth)) {
        return false;
      }
      space();
    } while (eat(','));
    return eat('}') || fail("expected ',' or '}' in an object");
  }

  bool elements(int depth) {
    space();
    if (eat(']')) return true;
    do {
      space();
      if (!value(depth)) return false;
      space();
    } while (eat(','));
    return eat(']') || fail("expected ',' or ']' in an array");
  }

  bool value(int depth) {
    if (depth > kMaxDepth) return fail("nested more than 64 deep");
    bool unused = false;
    switch (peek()) {
      case '"':
        return string(nullptr);
      case '{':
        ++at_;
        return members(depth + 1, {}, nullptr, unused);
      case '[':
        ++at_;
        return elements(depth + 1);
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

  bool word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return fail("not a JSON value");
    at_ += expected.size();
    return true;
  }

  bool digits() {
    const std::size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > begin || fail("not a JSON value");
  }

  bool number() {
    eat('-');
    if (!eat('0') && !digits()) return false;
    if (eat('.') && !digits()) return false;
    if (!eat('e') && !eat('E')) return true;
    if (!eat('+')) eat('-');
    return digits();
  }

  /// A string; its characters are appended to *out after it was cleared, if given.
  bool string(std::string* out) {
    if (!eat('"')) return fail("expected a string");
    if (out != nullptr) out->clear();
    while (true) {
      const std::size_t begin = at_;
      while (at_ < text_.size() && plain(text_[at_])) ++at_;
      if (out != nullptr) out->append(text_, begin, at_ - begin);
      if (at_ == text_.size()) return fail("a string has no end (the line is cut off?)");
      const char c = text_[at_];
      if (c == '"') return ++at_, true;
      if (c == '\\' ? !escape(out) : !multibyte(out)) return false;
    }
  }

  static bool plain(char c) {
    const auto u = static_cast<unsigned char>(c);
    return u >= 0x20 && u < 0x80 && c != '"' && c != '\\';
  }

  bool multibyte(std::string* out) {
    if (static_cast<unsigned char>(text_[at_]) < 0x20) return fail("a control character in a string");
    const std::size_t length = utf8_length(text_, at_);
    if (length == 0) return fail("not UTF-8");
    if (out != nullptr) out->append(text_, at_, length);
    at_ += length;
    return true;
  }

  bool escape(std::string* out) {
    ++at_;  // the backslash
    constexpr std::string_view names = "\"\\/bfnrt", means = "\"\\/\b\f\n\r\t";
    const char c = peek();
    const std::size_t i = at_ < text_.size() ? names.find(c) : std::string_view::npos;
    if (i != std::string_view::npos) {
      ++at_;
      if (out != nullptr) *out += means[i];
      return true;
    }
    std::uint32_t code = 0, low = 0;
    if (c != 'u' || !hex4(code)) return fail("not a JSON escape");
    if (code >= 0xDC00 && code < 0xE000) return fail("half a surrogate pair");
    if (code >= 0xD800 && code < 0xDC00) {
      if (!eat('\\') || peek() != 'u' || !hex4(low) || low < 0xDC00 || low >= 0xE000)
        return fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (out != nullptr) append_utf8(code, *out);
    return true;
  }

  /// At 'u'.
  bool hex4(std::uint32_t& code) {
    if (text_.size() - at_ < 5) return false;
    code = 0;
    for (const char c : text_.substr(at_ + 1, 4)) {
      const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
      if (!digit && !lower && !upper) return false;
      code = code * 16 + static_cast<std::uint32_t>(digit ? c - '0' : lower ? c - 'a' + 10 : c - 'A' + 10);
    }
    at_ += 5;
    return true;
  }

  static void append_utf8(std::uint32_t code, std::string& out) {
    if (code < 0x80) {
      out += static_cast<char>(code);
      return;
    }
    const unsigned tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes after the first
    constexpr unsigned char first[] = {0, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(first[tail] | (code >> (6 * tail)));
    for (unsigned i = tail; i-- > 0;) out += static_cast<char>(0x80u | ((code >> (6 * i)) & 0x3Fu));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  const char* complaint_ = "not JSON";
};

}  // namespace

std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned least = lead == 0xE0 ? 0xA0 : 0x80, most = lead == 0xED ? 0x9F : 0xBF;
    return byte(1) >= least && byte(1) <= most && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned least = lead == 0xF0 ? 0x90 : 0x80, most = lead == 0xF4 ? 0x8F : 0xBF;
    return byte(1) >= least && byte(1) <= most && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

const char* json_string_field(std::string_view line, std::string_view name, std::string& value) {
  return Scanner(line).object_with_field(name, value);
}

}  // namespace sherd
