// The header of a safetensors file, checked as if an enemy had written it.
#include <algorithm>
#include <bit>

#include "sherd/base/error.hpp"
#include "sherd/file/json.hpp"
#include "sherd/io/safetensors.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr std::size_t kMostDims = 8;

/// Bits per element, for every type of the format; 0 for a name that it does not know.
std::int64_t bits_of(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int> kTypes[] = {
      {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},        {"U8", 8},          {"I8", 8},
      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
      {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};
  for (const auto& [name, bits] : kTypes) {
    if (name == dtype) return bits;
  }
  return 0;
}

std::string read_header_text(const File& file, std::int64_t file_size) {
  const std::string path = file.path().string();
  if (file_size < kLengthBytes) {
    throw bad_input("{}: {} bytes are not a safetensors file; it is truncated, fetch it again", path, file_size);
  }
  std::uint64_t length = 0;  // stored little-endian
  static_assert(std::endian::native == std::endian::little);
  file.pread_all(std::as_writable_bytes(std::span(&length, 1)), 0);
  if (length > static_cast<std::uint64_t>(kSafetensorsHeaderLimit)) {
    throw bad_input("{}: a header of {} bytes (at most {} are read); this is not a safetensors file", path, length,
                    kSafetensorsHeaderLimit);
  }
  if (static_cast<std::int64_t>(length) > file_size - kLengthBytes) {
    throw bad_input("{}: {} bytes, but the header alone has {}; the file is truncated, fetch it again", path, file_size,
                    length);
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  file.pread_all(std::as_writable_bytes(std::span(text.data(), text.size())), kLengthBytes);
  if (text.empty() || text.front() != '{') throw bad_input("{}: the header does not begin with '{{'", path);
  return text;
}

/// data_offsets is still relative to the data; shape x dtype must fill it exactly.
SafetensorsEntry parse_entry(const std::string& name, const JsonValue& value) {
  SafetensorsEntry entry;
  entry.name = name;
  entry.dtype = value.at("dtype").string();
  const JsonValue shape = value.at("shape"), offsets = value.at("data_offsets");
  if (shape.size() > kMostDims) throw bad_input("{}: more than {} dimensions", shape.where(), kMostDims);
  entry.elements = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    entry.shape.push_back(shape.at(i).integer(0));
    if (__builtin_mul_overflow(entry.elements, entry.shape.back(), &entry.elements)) {
      throw bad_input("{}: {} is impossibly large", shape.where(), shape.dump());
    }
  }
  if (offsets.size() != 2) throw bad_input("{}: expected [begin, end]", offsets.where());
  entry.offset = offsets.at(0).integer(0);
  const std::int64_t end = offsets.at(1).integer(entry.offset);
  entry.bytes = end - entry.offset;
  const std::int64_t bits = bits_of(entry.dtype);
  std::int64_t total_bits = 0;
  if (bits == 0) throw bad_input("{}: unknown dtype {}", value.where(), entry.dtype);
  if (__builtin_mul_overflow(entry.elements, bits, &total_bits) || total_bits % 8 != 0 ||
      total_bits / 8 != entry.bytes) {
    throw bad_input("{}: {} elements of {} do not make the {} bytes of data_offsets", value.where(), entry.elements,
                    entry.dtype, entry.bytes);
  }
  return entry;
}

void check_metadata(const JsonValue& metadata) {
  for (const std::string& key : metadata.keys()) metadata.at(key).string();
}

}  // namespace

std::vector<SafetensorsEntry> read_safetensors_header(const File& file) {
  const std::int64_t file_size = file.size();
  const std::string path = file.path().string();
  const std::string text = read_header_text(file, file_size);
  const JsonDocument document = JsonDocument::parse(text, path);
  const JsonValue root = document.root();
  std::vector<SafetensorsEntry> entries;
  for (const std::string& name : root.keys()) {
    if (name == "__metadata__") {
      check_metadata(root.at(name));
    } else {
      entries.push_back(parse_entry(name, root.at(name)));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  const std::int64_t data_begin = kLengthBytes + static_cast<std::int64_t>(text.size());
  std::int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      throw bad_input("{}: {} begins at byte {} of the data, the tensor before it ends at {}: {}", path, entry.name,
                      entry.offset, end, entry.offset < end ? "they overlap" : "there is a hole");
    }
    if (__builtin_add_overflow(end, entry.bytes, &end)) throw bad_input("{}: {} is too large", path, entry.name);
  }
  if (end != file_size - data_begin) {
    throw bad_input("{}: {} bytes of data, its header promises {}; the file is {}, fetch it again", path,
                    file_size - data_begin, end,
                    end > file_size - data_begin ? "truncated" : "longer than it should be");
  }
  for (SafetensorsEntry& entry : entries) entry.offset += data_begin;
  return entries;
}

}  // namespace sherd
