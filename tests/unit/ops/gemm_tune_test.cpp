// Which algorithms a run's products get: a checkpoint's, the cache's, or those of a search.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../../../src/ops/cuda/gemm_table.hpp"
#include "fake_cublas_lt.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/algorithms.hpp"
#include "sherd/ops/cuda/ops.hpp"

namespace sherd::cuda {
namespace {

namespace fs = std::filesystem;
using ::emulation::fake;

class GemmTune : public ::testing::Test {
 protected:
  GemmTune() {
    fake() = {};
    std::string name = (fs::temp_directory_path() / "sherd-gemm-tune-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    x_ = arena_.take(DType::f32, {3, 4});
    w_ = arena_.take(DType::f32, {5, 4});
    y_ = arena_.take(DType::f32, {3, 5});
    scratch_ = arena_.take(DType::f32, {1 << 16});
    key_ = {key_of(linear_product(x_, w_, y_), "test")};
  }
  ~GemmTune() override {
    ::unsetenv("XDG_CACHE_HOME");
    fs::remove_all(folder_);
  }

  AlgorithmNeeds needs() const { return {key_, {}}; }
  std::string choose(const std::string& known) {
    fake().ran.clear();
    return ops_->choose_algorithms(needs(), known, {}, scratch_, *stream_);
  }
  /// The algorithm that a linear layer runs by.
  std::uint64_t runs_by() {
    fake().ran.clear();
    ops_->linear(x_, w_, y_, *stream_);
    stream_->synchronize();
    return fake().ran.at(0);
  }
  fs::path cache() const { return folder_ / "sherd" / "products-Emulated-GPU-4-130100.txt"; }
  std::string cached() const {
    std::stringstream text;
    text << std::ifstream(cache()).rdbuf();
    return text.str();
  }

  fs::path folder_;
  std::unique_ptr<Device> device_ = make_device(0, {});
  std::unique_ptr<Stream> stream_ = device_->stream("products", StreamKind::compute);
  Arena arena_ = device_->arena("test", kWorkspaceBytes + (1 << 20));
  std::unique_ptr<sherd::Ops> ops_ = make_ops(arena_.take(DType::f32, {kWorkspaceBytes / 4}));
  Tensor x_, w_, y_, scratch_;
  std::vector<ProductKey> key_;
};

constexpr std::size_t kVerified = 4;  // products by an algorithm that is known: whether its bits repeat

TEST_F(GemmTune, AlgorithmsOfASearchAreCachedAndUsed) {
  EXPECT_EQ(runs_by(), 1u);  // the library's first guess
  const std::string text = choose("");
  EXPECT_FALSE(fake().ran.empty());
  EXPECT_EQ(cached(), text);
  ops_->use_algorithms(text, needs(), {});
  EXPECT_EQ(runs_by(), 2u);  // the fastest
  EXPECT_EQ(choose(""), text);
  EXPECT_EQ(fake().ran.size(), kVerified) << "what the cache has was searched again";
}

TEST_F(GemmTune, ACheckpointsAlgorithmsComeFirst) {
  fake().algorithms = {{.id = 9}};
  const std::string recorded = choose("");
  fs::remove(cache());
  fake().algorithms = {{.id = 1}};
  choose("");
  EXPECT_EQ(choose(recorded), recorded);
  ops_->use_algorithms(recorded, needs(), {});
  EXPECT_EQ(runs_by(), 9u);
}

TEST_F(GemmTune, OnlyWhatIsMissingIsSearchedAndTheCacheKeepsTheRest) {
  choose("");
  const ProductKey old = std::exchange(key_[0], key_of(linear_grad_input_product(y_, w_, x_, 0), "test"));
  const std::string text = choose("");
  EXPECT_NE(text.find(key_[0].text()), std::string::npos);
  EXPECT_EQ(text.find(old.text()), std::string::npos) << "not a product of this run";
  EXPECT_NE(cached().find(old.text()), std::string::npos);
}

/// Both operands' codes are numbers, their scale is 1, and their layout what the library wants: else the search, which
/// runs each candidate, would find none.
TEST_F(GemmTune, ProductsInEightBitsAreSearchedAndPinnedAsTheOthers) {
  for (const DType format : {DType::f8e4m3, DType::f8e5m2}) {
    const Tensor a = arena_.take(format, {32, 48}), b = arena_.take(DType::f8e4m3, {16, 48});
    const Tensor one = arena_.take(DType::f32, {1}), out = arena_.take(DType::f32, {32, 16});
    key_[0] = key_of(linear_f8_product(a, one, b, one, out, 0), "test");
    const std::string text = choose("");
    EXPECT_NE(text.find(key_[0].text() + " us "), std::string::npos) << text;
    EXPECT_EQ(text.find("none"), std::string::npos) << text;
    EXPECT_EQ(choose(""), text) << "not from the cache";
    ops_->use_algorithms(text, needs(), {});
    fake().ran.clear();
    ops_->linear_f8(a, one, b, one, out, 0, *stream_);
    stream_->synchronize();
    EXPECT_EQ(fake().ran, std::vector<std::uint64_t>{2});  // the fastest
  }
}

TEST_F(GemmTune, DamageAndOtherDevicesMeanANewSearch) {
  const std::string good = choose("");
  std::ofstream(cache()) << good.substr(0, good.size() / 2);
  std::string other = good;
  other.replace(other.find("Emulated"), 8, "Imagined");
  for (const std::string& known : {std::string(), other, std::string("\0garbage", 8), good.substr(0, 99)}) {
    fs::remove(cache());
    EXPECT_EQ(choose(known), good);
    EXPECT_GT(fake().ran.size(), kVerified);
  }
  std::ofstream(cache()) << good.substr(0, good.size() / 2);
  EXPECT_EQ(choose(""), good);
  EXPECT_EQ(cached(), good);
  ops_->use_algorithms(other, needs(), {});
  EXPECT_EQ(runs_by(), 1u);
}

TEST_F(GemmTune, WhatDoesNotRunHereAsItShouldIsSearchedAgain) {
  const std::string good = choose("");
  fs::remove(cache());
  for (const emulation::FakeAlgorithm& bad : {emulation::FakeAlgorithm{.id = 7, .workspace = 1 << 30},
                                              {.id = 7, .scheme = 1},
                                              {.id = 7, .changes_bits = true},
                                              {.id = 7, .fails = true}}) {
    GemmTable table;
    table.set(key_[0], {{7, bad.scheme, 1, bad.workspace, 1, bad.changes_bits ? 1u : bad.fails ? 2u : 0u}, 1});
    EXPECT_EQ(choose(table.text(current_target())), good);
  }
}

TEST_F(GemmTune, WithoutAnyAlgorithmNothingIsChosen) {
  fake().algorithms.clear();
  const std::string text = choose("");
  EXPECT_NE(text.find("algorithm none"), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(cache()));
  ops_->use_algorithms(text, needs(), {});
  ops_->linear(x_, w_, y_, *stream_);
  stream_->synchronize();
  EXPECT_TRUE(fake().ran.empty());
}

}  // namespace
}  // namespace sherd::cuda
