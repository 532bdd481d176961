// Damaged and forged checkpoints: nothing of them is ever handed out.
#include <gtest/gtest.h>

#include <fstream>

#include "checkpoint_writing.hpp"
#include "sherd/file/crc32c.hpp"
#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  return read_text(path, 10 << 20);
}
void overwrite(const fs::path& path, const std::string& bytes) {
  File::create(path).pwrite_all(bytes, 0);
}

void read_everything(const fs::path& path) {
  CheckpointReader reader(path);
  for (const TestParameter& p : test_parameters()) {
    std::vector<float> out(static_cast<std::size_t>(p.elements()));
    for (const ParamState state : p.states()) reader.read(p.name, state, 0, out);
  }
}

class Damage : public testing::Test {
 protected:
  /// Flips one bit at many places of a file; every one must be refused.
  void expect_every_flip_refused(const char* name, bool by_verify) {
    const std::string whole = contents(path_ / name);
    const std::size_t stride = whole.size() / 400 + 1;
    std::fstream file(path_ / name, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](std::size_t at, char byte) {
      file.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
      ASSERT_TRUE(file.good());
    };
    for (std::size_t i = 0; i < whole.size(); i += i < 600 || i + 600 > whole.size() ? 1 : stride) {
      put(i, static_cast<char>(whole[i] ^ (1 << (i % 8))));
      EXPECT_THROW(by_verify ? CheckpointReader(path_).verify() : read_everything(path_), Error)
          << name << " byte " << i;
      put(i, whole[i]);
    }
    EXPECT_NO_THROW(read_everything(path_));
  }

  TemporaryDirectory dir_;
  fs::path path_ = write_checkpoint(dir_.path(), 7, 2, 5);
};

TEST_F(Damage, AFlippedBitInARankFile) {
  expect_every_flip_refused("rank-0000.h5", false);
  expect_every_flip_refused("rank-0001.h5", true);
}
TEST_F(Damage, AFlippedBitInTheManifest) {
  expect_every_flip_refused("manifest.json", false);
}
TEST_F(Damage, AFlippedBitInTheIndex) {
  expect_every_flip_refused("model.h5", true);
}

TEST_F(Damage, TheMessageNamesTheFileAndTheParameter) {
  const fs::path file = path_ / "rank-0001.h5";
  std::string bytes = contents(file);
  const TestParameter p = test_parameters().front();
  const std::vector<float> values = p.values(ParamState::v);
  TestPiece mine{};
  for (const TestPiece& piece : random_pieces(p.elements(), 2, 5)) {
    if (piece.rank == 1) mine = piece;
  }
  const std::string needle(reinterpret_cast<const char*>(values.data() + mine.first),
                           4 * static_cast<std::size_t>(mine.count));
  const std::size_t at = bytes.find(needle);
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] = static_cast<char>(~bytes[at + 2]);
  overwrite(file, bytes);
  EXPECT_BAD_INPUT(read_everything(path_), "rank-0001.h5: damaged: the checksum of model.embed_tokens.weight (v)");
}

TEST_F(Damage, TruncatedAndMissingFilesFallBack) {
  const fs::path newest = write_checkpoint(dir_.path(), 8, 2, 6);
  for (const char* name : {"rank-0000.h5", "rank-0001.h5", "model.h5", "manifest.json"}) {
    const std::string whole = contents(newest / name);
    overwrite(newest / name, whole.substr(0, whole.size() - 1));
    EXPECT_THROW(CheckpointReader{newest}, Error) << name;
    EXPECT_EQ(find_newest_good(dir_.path()), path_) << name;
    overwrite(newest / name, "");
    EXPECT_EQ(find_newest_good(dir_.path()), path_) << name;
    fs::remove(newest / name);
    EXPECT_EQ(find_newest_good(dir_.path()), path_) << name;
    overwrite(newest / name, whole);
    EXPECT_EQ(find_newest_good(dir_.path()), newest) << name;
  }
  fs::remove(path_ / "manifest.json");
  fs::remove(newest / "manifest.json");
  EXPECT_EQ(find_newest_good(dir_.path()), std::nullopt);
  EXPECT_EQ(find_newest_good(dir_ / "none"), std::nullopt);
}

/// A manifest whose checksum is right, whatever it says.
std::string forged(const std::string& manifest, const std::string& from, const std::string& to) {
  std::string rest = manifest.substr(manifest.find('\n') + 1);
  const std::size_t at = rest.find(from);
  SHERD_CHECK(at != std::string::npos, "no {} in the manifest", from);
  rest.replace(at, from.size(), to);
  return fmt::format("{{\"crc32c\": \"{:08x}\",\n", crc32c(rest)) + rest;
}

TEST_F(Damage, ForgedManifestsAreRefused) {
  const std::string manifest = contents(path_ / "manifest.json");
  const std::vector<std::array<const char*, 3>> cases = {
      {"\"format\": 1", "\"format\": 2", "format 2; this program reads format 1"},
      {"\"step\": 7", "\"step\": -7", "outside of"},
      {"\"world_size\": 2", "\"world_size\": 3", "2 files of 3 ranks"},
      {"\"world_size\": 2", "\"world_size\": 99999999", "outside of"},
      {"\"rank\":1", "\"rank\":0", "rank 0 where rank 1 was expected"},
      {"\"rank\":1", "\"rank\":\"../../x\"", "expected an integer"},
      {"\"first\":0", "\"first\":1", ""},
      {"\"first\":0", "\"first\":-1", "outside of"},
      {"\"count\":", "\"count\":9", ""},
      {"\"count\":", "\"count\":-", "outside of"},
      {"\"offset\":", "\"offset\":92233720368547", "outside of"},
      {"\"offset\":", "\"offset\":-", "outside of"},
      {"\"shape\":[37, 16]", "\"shape\":[37,17]", "has the shape"},
      {"\"shape\":[37, 16]", "\"shape\":[4294967296,4294967296]", "impossibly large"},
      {"\"shape\":[37, 16]", "\"shape\":[37,16,1]", "one or two dims"},
      {"\"shape\":[37, 16]", "\"shape\":[0,16]", "outside of"},
      {"\"state\":\"master\"", "\"state\":\"mister\"", "none of master, m, v"},
      {"\"state\":\"master\"", "\"state\":\"m\"", ""},
      {"\"crc32c\":\"", "\"crc32c\":\"00000000", "checksums were expected"},
      {"\"rest_crc32c\":\"", "\"rest_crc32c\":\"0", "8 digits"},
      {"\"config\": {", "\"config\": {{", "not valid JSON"},
  };
  for (const auto& [from, to, part] : cases) {
    overwrite(path_ / "manifest.json", forged(manifest, from, to));
    const std::string message = message_of(ExitCode::bad_input, [&] { CheckpointReader reader(path_); });
    EXPECT_NE(message.find("manifest.json:"), std::string::npos) << to << ": " << message;
    EXPECT_NE(message.find(part), std::string::npos) << to << ": " << message;
  }
  overwrite(path_ / "manifest.json", forged(manifest, "\"step\": 7", "\"step\": 8"));
  EXPECT_EQ(CheckpointReader(path_).metadata().step, 8);  // the forger's checksum itself is right
}

}  // namespace
}  // namespace sherd
