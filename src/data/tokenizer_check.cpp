// The outline of a ModelProto (protocol buffers wire format, protobuf.dev/programming-guides/encoding): repeated pieces
// in field 1, specifications in fields 2 to 5, all length-delimited. Checked because the library's parser and
// normaliser trust sizes inside (CVE-2026-1260 and others), and to say what a file is that is something else.
#include <cstring>

#include "sherd/base/error.hpp"
#include "sherd/data/tokenizer.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kMaxPieces = 4'000'000;
constexpr std::size_t kMaxPieceBytes = 4096;
constexpr std::uint64_t kLengthDelimited = 2;

/// A view of a message, eaten from the front. Every function is false when the bytes do not hold what is asked for.
class Wire {
 public:
  explicit Wire(std::string_view bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }

  bool varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7fu) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool field(std::uint64_t& number, std::string_view& payload) {
    std::uint64_t tag = 0, size = 0;
    if (!varint(tag)) return false;
    number = tag >> 3;
    switch (tag & 7) {
      case 0:
        payload = {};
        return varint(size);
      case 1:
        return take(8, payload);
      case 5:
        return take(4, payload);
      case kLengthDelimited:
        return varint(size) && take(size, payload);
      default:
        return false;
    }
  }

 private:
  bool take(std::uint64_t size, std::string_view& payload) {
    if (size > rest_.size()) return false;
    payload = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  std::string_view rest_;
};

bool piece_is_sound(std::string_view message) {
  Wire wire(message);
  bool named = false;
  while (!wire.empty()) {
    std::uint64_t number = 0;
    std::string_view payload;
    if (!wire.field(number, payload)) return false;
    if (number != 1) continue;
    named = !payload.empty() && payload.size() <= kMaxPieceBytes && payload.find('\0') == std::string_view::npos;
    if (!named) return false;
  }
  return named;
}

/// The character map of a normaliser: a 32-bit size, a double-array trie of that size, strings. A lookup goes from unit
/// i to (i ^ offset) ^ byte, so every offset must stay inside for all 256 bytes.
bool charsmap_is_sound(std::string_view map) {
  if (map.empty()) return true;
  std::uint32_t trie_bytes = 0;
  if (map.size() <= sizeof trie_bytes) return false;
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  if (trie_bytes < 1024 || trie_bytes % 1024 != 0 || trie_bytes >= map.size() - sizeof trie_bytes) return false;
  const std::size_t units = trie_bytes / 4, strings = map.size() - sizeof trie_bytes - trie_bytes;
  for (std::size_t i = 0; i < units; ++i) {
    std::uint32_t unit = 0;
    std::memcpy(&unit, map.data() + 4 + 4 * i, sizeof unit);
    if ((unit >> 31) != 0) {
      if ((unit & 0x7fffffffu) >= strings) return false;  // a leaf: where its string begins
      continue;
    }
    const std::size_t offset = static_cast<std::size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6);
    if (((i ^ offset) | 0xffu) >= units) return false;
  }
  return map.back() == '\0';
}

bool normalizer_is_sound(std::string_view message) {
  Wire wire(message);
  while (!wire.empty()) {
    std::uint64_t number = 0;
    std::string_view payload;
    if (!wire.field(number, payload) || (number == 2 && !charsmap_is_sound(payload))) return false;
  }
  return true;
}

bool model_is_sound(std::string_view bytes) {
  Wire wire(bytes);
  std::int64_t pieces = 0;
  bool trainer = false, normalizer = false;  // without them the library would silently take its defaults
  while (!wire.empty()) {
    std::uint64_t number = 0;
    std::string_view payload;
    if (!wire.field(number, payload) || number == 0 || (number > 5 && number < 200)) return false;
    if (number == 1 && (!piece_is_sound(payload) || ++pieces > kMaxPieces)) return false;
    trainer = trainer || number == 2;
    normalizer = normalizer || number == 3;
    if ((number == 3 || number == 5) && !normalizer_is_sound(payload)) return false;
  }
  return pieces > 0 && trainer && normalizer;
}

/// What else comes under this name, from its first bytes.
const char* guess(std::string_view bytes) {
  if (bytes.empty()) return "the file is empty";
  if (bytes.starts_with("version https://git-lfs")) return "it is a Git LFS pointer: fetch the file itself";
  if (bytes.front() == '<') return "it looks like an HTML page: the download went wrong";
  if (bytes.front() == '{') return "it looks like JSON (a tokenizer.json?), which Sherd does not read";
  const std::string_view line = bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
  if (line.size() < 100 && line.find("== ") != std::string_view::npos) {
    return "it looks like a tiktoken file (Llama-3's), which Sherd does not read";
  }
  return "it is damaged, or something else";
}

}  // namespace

void check_tokenizer_model(std::string_view bytes, const std::string& path) {
  if (!model_is_sound(bytes))
    throw bad_input("{}: not a sentencepiece model ({} bytes): {}", path, bytes.size(), guess(bytes));
}

}  // namespace sherd
