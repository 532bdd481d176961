#pragma once
// The golden files as the tests read them: safetensors (I32, F32, BF16) and JSON. A reader of its own, so that a fault
// in io/ cannot hide itself here.
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace sherd::golden {

struct GoldenTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;          // F32 and BF16
  std::vector<std::int32_t> indices;  // I32
};

/// All tensors of a .safetensors file by name. Throws if the file is missing or not what the scripts write.
std::map<std::string, GoldenTensor> load_tensors(const std::filesystem::path& path);

/// |found - truth| / |truth|, L2 norms, in f64.
double relative_error(std::span<const float> found, std::span<const float> truth);

/// Where the cases lie: $SHERD_GOLDEN_DIR, for tests that travel in a bundle, or `built`, the source tree's folder.
std::filesystem::path golden_folder(const char* built);

}  // namespace sherd::golden
