// The table of products as text and on disk.
#include "../../../src/ops/cuda/gemm_table.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "../../../src/ops/cuda/algorithm_cache.hpp"
#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

namespace fs = std::filesystem;

const GemmTarget kTarget{"NVIDIA H100 80GB HBM3", 90, 132, 130100};

GemmTable sample() {
  GemmTable table;
  table.set({DType::bf16, DType::f32, 4096, 11008, 2048, 4096, 11008, 11008, true, false, true},
            {{1, 2, 3, 0xffffffffffffffff, 5, 6, 7, 0x0123456789abcdef}, 123.45});
  table.set({DType::f8e4m3, DType::bf16, 64, 32, 48, 48, 48, 32, false, true, false}, {{9}, 1.5});
  table.set({DType::f8e5m2, DType::f32, 64, 32, 48, 48, 48, 32, false, true, true}, {{10}, 2.5});
  table.set({DType::f32, DType::f32, 7, 129, 1, 1, 129, 200, false, true, false}, {{}, 0});
  return table;
}

std::string error_of(const std::string& text) {
  std::string reason;
  try {
    GemmTable::parse(text, kTarget, reason);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::bad_input);
    return e.what();
  }
  return "";
}

TEST(GemmTable, ComesBackFromText) {
  std::string reason;
  const auto again = GemmTable::parse(sample().text(kTarget), kTarget, reason);
  ASSERT_TRUE(again) << reason;
  EXPECT_EQ(again->text(kTarget), sample().text(kTarget));
  EXPECT_EQ(again->all().size(), 4u);
  const GemmTable table = sample();
  for (const auto& [key, choice] : table.all()) {
    ASSERT_NE(again->find(key), nullptr) << key.text();
    EXPECT_EQ(again->find(key)->algorithm, choice.algorithm);
    EXPECT_EQ(again->find(key)->microseconds, choice.microseconds);
  }
  EXPECT_TRUE(GemmTable::parse(GemmTable().text(kTarget), kTarget, reason));
}

TEST(GemmTable, OfAnotherMachineIsIgnoredWithAReason) {
  for (const GemmTarget& other : {GemmTarget{"NVIDIA H200", 90, 132, 130100},
                                  {kTarget.device, 100, 132, 130100},
                                  {kTarget.device, 90, 114, 130100},
                                  {kTarget.device, 90, 132, 130200}}) {
    std::string reason;
    EXPECT_FALSE(GemmTable::parse(sample().text(kTarget), other, reason));
    EXPECT_NE(reason.find("cublaslt 130100"), std::string::npos) << reason;
  }
  std::string reason;
  EXPECT_FALSE(GemmTable::parse("", kTarget, reason));
  EXPECT_FALSE(GemmTable::parse("\0\xff garbage", kTarget, reason));
}

TEST(GemmTable, DamageNamesTheLine) {
  const std::string text = sample().text(kTarget);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string out = text;
    out.replace(out.find(from), from.size(), to);
    return error_of(out);
  };
  EXPECT_NE(with("m 7", "m -7").find("line 2, word 4"), std::string::npos) << with("m 7", "m -7");
  EXPECT_NE(with("m 7", "m 9999999999999999").find("line 2"), std::string::npos);
  EXPECT_NE(with("m 7", "m 8").find("checksum"), std::string::npos);
  EXPECT_NE(with(" t n beta", " x n beta").find("expected 'n' or 't'"), std::string::npos)
      << with(" t n beta", " x n beta");
  EXPECT_NE(with("123.45", "nan").find("line 3"), std::string::npos);
  EXPECT_NE(with("89abcdef", "89abcdeg").find("hexadecimal"), std::string::npos);
  EXPECT_NE(with("89abcdef", "89abcdef ").find("too long"), std::string::npos);
  EXPECT_NE(with("end 4", "end 5").find("number of lines"), std::string::npos);
  for (std::size_t cut = text.find('\n') + 1; cut < text.size() - 1; cut += 3)
    EXPECT_FALSE(error_of(text.substr(0, cut)).empty()) << cut;
  EXPECT_NE(error_of(std::string(5 << 20, 'x')).find("bytes"), std::string::npos);
}

TEST(GemmTable, MergingKeepsWhatIsThere) {
  GemmTable table = sample();
  const ProductKey key = table.all().begin()->first;
  GemmTable other;
  other.set(key, {{42}, 1});
  table.merge(other);
  EXPECT_NE(table.find(key)->algorithm[0], 42u);
}

/// Environment variables and a folder for one test.
class GemmCache : public ::testing::Test {
 protected:
  GemmCache() {
    std::string name = (fs::temp_directory_path() / "sherd-gemm-cache-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~GemmCache() override {
    fs::remove_all(folder_);
    ::unsetenv("XDG_CACHE_HOME");
  }
  fs::path folder_;
};

TEST_F(GemmCache, IsAFilePerDeviceAndVersion) {
  ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  const fs::path path = gemm_cache_path(kTarget);
  EXPECT_EQ(path, folder_ / "sherd" / "products-NVIDIA-H100-80GB-HBM3-132-130100.txt");
  EXPECT_EQ(gemm_cache_path({"../../etc/x", 90, 1, 1}).parent_path(), folder_ / "sherd");
  EXPECT_EQ(read_cache(path), "");
  write_cache(path, "one");
  write_cache(path, sample().text(kTarget));
  EXPECT_EQ(read_cache(path), sample().text(kTarget));
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), {}), 1);
}

TEST_F(GemmCache, IsInHomeUnlessThePathIsAbsolute) {
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  const std::string home = std::getenv("HOME") == nullptr ? "" : std::getenv("HOME");
  ::setenv("HOME", folder_.c_str(), 1);
  EXPECT_EQ(gemm_cache_path(kTarget).parent_path(), folder_ / ".cache" / "sherd");
  ::setenv("HOME", "", 1);
  EXPECT_TRUE(gemm_cache_path(kTarget).empty());
  write_cache("", "nowhere");
  ::setenv("HOME", home.c_str(), 1);
}

TEST_F(GemmCache, TroubleIsOnlyLogged) {
  std::ofstream(folder_ / "file") << "x";
  write_cache(folder_ / "file" / "sherd" / "products.txt", "text");
  EXPECT_EQ(read_cache(folder_ / "file" / "sherd" / "products.txt"), "");
  std::ofstream(folder_ / "large") << std::string(5 << 20, 'x');
  EXPECT_EQ(read_cache(folder_ / "large"), "");
  EXPECT_EQ(read_cache(folder_), "");
}

}  // namespace
}  // namespace sherd::cuda
