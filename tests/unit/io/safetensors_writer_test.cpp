#include "sherd/io/safetensors_writer.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "sherd/base/rng.hpp"
#include "sherd/io/safetensors.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

std::vector<float> numbers(std::size_t n) {
  const Random random(1, Purpose::test, 3);
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = random.normal(i);
  return out;
}

const std::vector<TensorInfo> kTensors = {
    {"f", DType::f32, {3, 5}}, {"g\"", DType::bf16, {7}}, {"h", DType::bf16, {4, 2}}, {"i", DType::bf16, {1}}};
constexpr std::size_t kElements = 15 + 7 + 8 + 1;

void expect_read_back(const std::filesystem::path& path, const std::vector<float>& all) {
  SafetensorsModel model(path);
  std::size_t first = 0;
  for (const TensorInfo& tensor : kTensors) {
    EXPECT_EQ(model.shape(tensor.name), tensor.shape);
    std::size_t n = 1;
    for (const std::int64_t d : tensor.shape) n *= static_cast<std::size_t>(d);
    std::vector<float> out(n);
    model.read(tensor.name, ParamState::master, 0, out);
    for (std::size_t i = 0; i < n; ++i) {
      const float exact = all[first + i];
      ASSERT_EQ(out[i], tensor.dtype == DType::f32 ? exact : static_cast<float>(bf16(exact)))
          << tensor.name << " " << i;
    }
    first += n;
  }
}

TEST(SafetensorsWriter, OneFileInPiecesOfAnySize) {
  const std::vector<float> all = numbers(kElements);
  for (const std::size_t piece : {1u, 4u, 16u, 31u}) {
    const TemporaryDirectory dir;
    SafetensorsWriter writer(dir.path(), kTensors);
    for (std::size_t i = 0; i < all.size(); i += piece) {
      writer.append(std::span(all).subspan(i, std::min(piece, all.size() - i)));
    }
    writer.finish();
    EXPECT_FALSE(std::filesystem::exists(dir / "model.safetensors.index.json"));
    EXPECT_EQ((read_text(dir / "model.safetensors", 10000)[0] + 8) % 8, 0);  // the data are aligned
    expect_read_back(dir.path(), all);
  }
}

TEST(SafetensorsWriter, ManyFilesAndAnIndex) {
  const TemporaryDirectory dir;
  const std::vector<float> all = numbers(kElements);
  SafetensorsWriter writer(dir.path(), kTensors, 30);  // 60 | 14 + 16 | 2 bytes
  writer.append(all);
  writer.finish();
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                           "model-00003-of-00003.safetensors", "model.safetensors.index.json"}) {
    EXPECT_TRUE(std::filesystem::exists(dir / name)) << name;
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 4);
  expect_read_back(dir.path(), all);
  EXPECT_NE(read_text(dir / "model.safetensors.index.json", 10000).find("\"total_size\": 92}"), std::string::npos);
}

TEST(SafetensorsWriter, NothingIsLeftOfAnUnfinishedFile) {
  const TemporaryDirectory dir;
  {
    SafetensorsWriter writer(dir.path(), kTensors);
    writer.append(numbers(10));
    EXPECT_THROW(writer.finish(), Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  SafetensorsWriter writer(dir.path(), kTensors);
  EXPECT_THROW(writer.append(numbers(kElements + 1)), Error);
}

}  // namespace
}  // namespace sherd
