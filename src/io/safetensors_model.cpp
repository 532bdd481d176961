#include <algorithm>
#include <set>

#include "sherd/base/error.hpp"
#include "sherd/file/json.hpp"
#include "sherd/io/convert.hpp"
#include "sherd/io/safetensors.hpp"
#include "text.hpp"

namespace sherd {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kBufferBytes = 8 << 20;
constexpr std::int64_t kIndexLimit = 64 << 20;
constexpr std::string_view kHead = "lm_head.weight", kEmbedding = "model.embed_tokens.weight";

bool is_ignored(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq");
}

/// Bytes per stored element of the types that are read.
std::int64_t stored_size(const SafetensorsEntry& entry, const fs::path& path) {
  if (entry.dtype == "F32") return 4;
  if (entry.dtype == "BF16" || entry.dtype == "F16") return 2;
  throw bad_input("{}: {} is stored as {}; F32, BF16 and F16 are read, so convert the model first", path.string(),
                  entry.name, entry.dtype);
}

/// A name of the index as a plain file name: whoever wrote the index must not choose files elsewhere.
std::string plain_file_name(const JsonValue& value) {
  const std::string name = value.string();
  const bool plain = name.ends_with(".safetensors") && name.front() != '.' &&
                     name.find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos;
  if (!plain) throw bad_input("{}: {} is not a plain name of a .safetensors file", value.where(), value.dump());
  return name;
}

void convert(const SafetensorsEntry& entry, std::span<const std::byte> in, std::span<float> out) {
  if (entry.dtype == "BF16") {
    bf16_to_f32({reinterpret_cast<const bf16*>(in.data()), out.size()}, out);
  } else {
    f16_to_f32({reinterpret_cast<const std::uint16_t*>(in.data()), out.size()}, out);
  }
}

}  // namespace

SafetensorsModel::SafetensorsModel(const fs::path& path, Options options) : path_(path), options_(options) {
  if (!fs::is_directory(path)) {
    if (!fs::exists(path))
      throw bad_input("{}: there is no such model; copy it here first, compute nodes have no internet", path.string());
    add_file(path);
  } else if (fs::exists(path / "model.safetensors.index.json")) {
    add_indexed_files(path / "model.safetensors.index.json");
  } else if (fs::exists(path / "model.safetensors")) {
    add_file(path / "model.safetensors");
  } else {
    throw bad_input(
        "{}: neither model.safetensors nor model.safetensors.index.json is there; fetch the model again (pickled .bin "
        "and "
        ".pt files are not read), or train drawn weights with --from-scratch",
        path.string());
  }
}

void SafetensorsModel::add_file(const fs::path& path) {
  files_.push_back(File::open_read(path));
  files_.back().advise_sequential();
  for (const SafetensorsEntry& entry : read_safetensors_header(files_.back())) {
    if (is_ignored(entry.name)) continue;
    tensors_.emplace(entry.name, Location{files_.size() - 1, entry});
  }
}

void SafetensorsModel::add_indexed_files(const fs::path& index) {
  const JsonDocument document = JsonDocument::load(index, kIndexLimit);
  const JsonValue weights = document.root().at("weight_map");
  std::map<std::string, std::set<std::string>> wanted;  // file -> tensors
  for (const std::string& name : weights.keys()) {
    if (!is_ignored(name)) wanted[plain_file_name(weights.at(name))].insert(name);
  }
  for (const auto& [file, names] : wanted) {
    const fs::path path = index.parent_path() / file;
    if (!fs::exists(path)) {
      throw bad_input("{}: missing, but {} names it; fetch the model again", path.string(), index.string());
    }
    files_.push_back(File::open_read(path));
    files_.back().advise_sequential();
    std::size_t found = 0;
    for (const SafetensorsEntry& entry : read_safetensors_header(files_.back())) {
      if (names.count(entry.name) == 0) continue;  // a tensor that the index gives to another file, or leaves out
      ++found;
      tensors_.emplace(entry.name, Location{files_.size() - 1, entry});
    }
    for (const std::string& name : names) {
      if (found == names.size()) break;
      if (tensors_.count(name) == 0) {
        throw bad_input("{}: {} is missing, but {} names this file for it; fetch the model again", path.string(), name,
                        index.string());
      }
    }
  }
}

const SafetensorsModel::Location& SafetensorsModel::find(std::string_view name) const {
  auto it = tensors_.find(name);
  if (it == tensors_.end() && name == kHead && options_.tied_embeddings) it = tensors_.find(kEmbedding);
  if (it != tensors_.end()) return it->second;
  throw bad_input("{}: there is no tensor {}{}", path_.string(), name, did_you_mean(name, names()));
}

std::vector<std::int64_t> SafetensorsModel::shape(std::string_view name) const {
  return find(name).entry.shape;
}

bool SafetensorsModel::has(std::string_view name, ParamState state) const {
  if (state != ParamState::master) return false;
  return tensors_.count(name) != 0 || (name == kHead && options_.tied_embeddings && tensors_.count(kEmbedding) != 0);
}

void SafetensorsModel::read(std::string_view name, ParamState state, std::int64_t first, std::span<float> out) {
  if (state != ParamState::master) throw bad_input("{}: a model has no {} of {}", path_.string(), name_of(state), name);
  const Location& location = find(name);
  const SafetensorsEntry& entry = location.entry;
  const File& file = files_[location.file];
  const std::int64_t size = stored_size(entry, file.path());
  const auto count = static_cast<std::int64_t>(out.size());
  SHERD_CHECK(first >= 0 && count <= entry.elements && first <= entry.elements - count, "{}: elements {} + {} of {}",
              name, first, count, entry.elements);
  std::int64_t offset = entry.offset + first * size;
  bytes_read_ += count * size;
  if (entry.dtype == "F32") return file.pread_all(std::as_writable_bytes(out), offset);
  buffer_.resize(kBufferBytes);
  while (!out.empty()) {
    const std::size_t n = std::min(out.size(), static_cast<std::size_t>(kBufferBytes / size));
    const std::span<std::byte> bytes = std::span(buffer_).first(n * static_cast<std::size_t>(size));
    file.pread_all(bytes, offset);
    convert(entry, bytes, out.first(n));
    out = out.subspan(n);
    offset += static_cast<std::int64_t>(bytes.size());
  }
}

std::vector<std::string> SafetensorsModel::names() const {
  std::vector<std::string> all;
  for (const auto& [name, location] : tensors_) all.push_back(name);
  return all;
}

std::int64_t SafetensorsModel::data_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [name, location] : tensors_) sum += location.entry.bytes;
  return sum;
}

}  // namespace sherd
