#include "golden_file.hpp"

#include <cstdlib>

#include <bit>
#include <cmath>
#include <cstring>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/json.hpp"
#include "sherd/file/posix.hpp"

namespace sherd::golden {
namespace {

constexpr std::int64_t kLimit = 4 << 20;

template <class T>
std::vector<T> elements(std::string_view bytes) {
  SHERD_CHECK(bytes.size() % sizeof(T) == 0, "{} bytes of a tensor", bytes.size());
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

GoldenTensor parse(const JsonValue& entry, std::string_view data) {
  GoldenTensor t;
  const JsonValue shape = entry.at("shape"), offsets = entry.at("data_offsets");
  for (std::size_t i = 0; i < shape.size(); ++i) t.shape.push_back(shape.at(i).integer(0));
  const std::int64_t begin = offsets.at(0).integer(0), end = offsets.at(1).integer(begin, std::ssize(data));
  const std::string_view bytes = data.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  const std::string dtype = entry.at("dtype").string();
  if (dtype == "I32") {
    t.indices = elements<std::int32_t>(bytes);
  } else if (dtype == "F32") {
    t.values = elements<float>(bytes);
  } else {
    SHERD_CHECK(dtype == "BF16", "golden tensors of {}", dtype);
    for (const std::uint16_t half : elements<std::uint16_t>(bytes)) {
      t.values.push_back(std::bit_cast<float>(std::uint32_t{half} << 16));
    }
  }
  return t;
}

}  // namespace

std::map<std::string, GoldenTensor> load_tensors(const std::filesystem::path& path) {
  const std::string file = read_text(path, kLimit);
  std::uint64_t header = 0;
  SHERD_CHECK(file.size() >= sizeof header, "{} has {} bytes", path.string(), file.size());
  std::memcpy(&header, file.data(), sizeof header);
  SHERD_CHECK(header <= file.size() - sizeof header, "{}: a header of {} bytes", path.string(), header);
  const std::string_view rest = std::string_view(file).substr(sizeof header);
  const JsonDocument document = JsonDocument::parse(rest.substr(0, header), path.string());
  std::map<std::string, GoldenTensor> tensors;
  for (const std::string& name : document.root().keys()) {
    if (name != "__metadata__") tensors[name] = parse(document.root().at(name), rest.substr(header));
  }
  return tensors;
}

double relative_error(std::span<const float> found, std::span<const float> truth) {
  SHERD_CHECK(found.size() == truth.size() && !truth.empty(), "{} elements, {} expected", found.size(), truth.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(truth[i]), 2);
    norm += std::pow(static_cast<double>(truth[i]), 2);
  }
  return std::sqrt(difference / norm);
}

std::filesystem::path golden_folder(const char* built) {
  const char* elsewhere = std::getenv("SHERD_GOLDEN_DIR");
  return elsewhere != nullptr ? elsewhere : built;
}

}  // namespace sherd::golden
