// safetensors files and their index, and the manifests of checkpoints.
#include <fmt/format.h>

#include "checkpoint_writing.hpp"
#include "safetensors_file.hpp"
#include "sherd/file/crc32c.hpp"
#include "sherd/io/safetensors.hpp"
#include "target.hpp"

namespace sherd::test {
namespace {

namespace fs = std::filesystem;

void read_all(ParamSource& source, const std::vector<std::string>& names, const std::vector<ParamState>& states) {
  for (const std::string& name : names) {
    std::int64_t elements = 1;
    for (const std::int64_t d : source.shape(name)) elements *= d;
    std::vector<float> out(static_cast<std::size_t>(std::min<std::int64_t>(elements, 4096)));
    for (const ParamState state : states) {
      if (source.has(name, state)) source.read(name, state, 0, out);
    }
  }
}

std::vector<std::string> safetensors_seeds(const fs::path& /*scratch*/) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<std::uint16_t> b = {1, 2, 3, 4};
  return {
      safetensors_bytes(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                        R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})",
                        raw(a) + raw(b))};
}

void run_safetensors(const std::string& input, const fs::path& scratch) {
  as_file(input, scratch);
  fs::rename(scratch / "input", scratch / "model.safetensors");
  SafetensorsModel model(scratch / "model.safetensors");
  read_all(model, model.names(), {ParamState::master});
}

std::vector<std::string> index_seeds(const fs::path& scratch) {
  fs::create_directories(scratch / "indexed");
  write_file(scratch / "indexed" / "one.safetensors", safetensors_seeds(scratch).front());
  return {R"({"metadata": {"total_size": 32}, "weight_map": {"a": "one.safetensors", "b": "one.safetensors"}})"};
}

void run_index(const std::string& input, const fs::path& scratch) {
  write_file(scratch / "indexed" / "model.safetensors.index.json", input);
  SafetensorsModel model(scratch / "indexed");
  read_all(model, model.names(), {ParamState::master});
}

/// What follows the manifest's first line, which is the checksum of the rest: the fuzzer gets past it.
std::vector<std::string> manifest_seeds(const fs::path& scratch) {
  const fs::path path = write_checkpoint(scratch, 7, 2, 5);
  const std::string whole = read_text(path / "manifest.json", 10 << 20);
  return {whole.substr(whole.find('\n') + 1)};
}

void run_manifest(const std::string& input, const fs::path& scratch) {
  const fs::path path = scratch / "step-00000007";
  write_file(path / "manifest.json", fmt::format("{{\"crc32c\": \"{:08x}\",\n", crc32c(input)) + input);
  CheckpointReader reader(path);
  read_all(reader, reader.names(), {ParamState::master, ParamState::m, ParamState::v});
}

}  // namespace

std::vector<FuzzTarget> io_targets() {
  return {{"safetensors", safetensors_seeds, run_safetensors},
          {"safetensors_index", index_seeds, run_index},
          {"manifest", manifest_seeds, run_manifest}};
}

}  // namespace sherd::test
