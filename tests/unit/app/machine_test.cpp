#include "machine.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "sherd/base/error.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/file/posix.hpp"
#include "sherd/ops/backend.hpp"
#include "temporary_directory.hpp"

namespace sherd::app {
namespace {

using Cores = std::set<int>;

TEST(Threads, AreTheCoresOfARankThatIsBoundAlone) {
  const NodeMap nodes = NodeMap::even(2, 1);
  EXPECT_EQ(share_of_cores({Cores{0, 1, 2}, Cores{3}}, nodes, 0), 3);
  EXPECT_EQ(share_of_cores({Cores{0, 1, 2}, Cores{3}}, nodes, 1), 1);
}

TEST(Threads, AreAShareOfCoresThatOthersMayUse) {
  const Cores socket0{0, 1, 2, 3}, socket1{4, 5, 6, 7};
  const std::vector<Cores> by_socket{socket0, socket0, socket1, socket1};
  const NodeMap one_node = NodeMap::even(4, 1);
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(share_of_cores(by_socket, one_node, rank), 2);
  EXPECT_EQ(share_of_cores({socket0, socket0, socket0}, NodeMap::even(3, 1), 0), 1);  // 4 / 3
  EXPECT_EQ(share_of_cores({Cores{0}, Cores{0}, Cores{0}}, NodeMap::even(3, 1), 2), 1);
}

TEST(Threads, OfOtherNodesAreNoRivals) {
  const Cores all{0, 1, 2, 3};
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(share_of_cores({all, all}, NodeMap::even(2, 2), rank), 4);
}

TEST(UnusedGpu, IsToldWhereTheBuildHasNoCuda) {
  const TemporaryDirectory folder;
  const std::filesystem::path driver = folder / "nvidiactl";
  EXPECT_EQ(unused_gpu(false, driver), "");
  std::ofstream(driver) << "a driver";
  EXPECT_NE(unused_gpu(false, driver).find("'make build'"), std::string::npos);
  EXPECT_EQ(unused_gpu(true, driver), "");
}

TEST(RequireMemory, CountsAllRanksOfTheNode) {
  const NodeMap nodes = NodeMap::even(4, 2);
  require_memory(100, nodes, 3, 200);
  try {
    require_memory(101, nodes, 3, 200);
    FAIL() << "202 bytes fit into 200";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::does_not_fit);
    EXPECT_NE(std::string(e.what()).find("node1"), std::string::npos) << e.what();
  }
  EXPECT_GT(node_memory(), 0);
}

TEST(Memory, FilesInTheCacheOfAJobAreNotInItsWay) {
  const TemporaryDirectory group;
  const auto write = [&](const char* name, const std::string& text) { write_text(group / name, text); };
  const auto left = [&] { return memory_left_in_group(group.path().string()); };
  EXPECT_EQ(left(), std::numeric_limits<std::int64_t>::max());  // no such files: no limit
  write("memory.max", "16000\n");
  write("memory.current", "15900\n");
  EXPECT_EQ(left(), 100);
  write("memory.stat", "anon 900\nfile 15000\ninactive_file 14000\nactive_file 1000\n");
  EXPECT_EQ(left(), 14100);
  write("memory.max", "max\n");
  EXPECT_EQ(left(), std::numeric_limits<std::int64_t>::max());
}

TEST(Cuda, IsRefusedByABuildWithoutIt) {
  if (cuda::in_build()) GTEST_SKIP() << "this build has CUDA";
  const auto refused = [](const auto& make) {
    try {
      make();
    } catch (const Error& e) {
      return e.code() == ExitCode::usage && std::string(e.what()).find("use --device cpu") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused([] { make_device("cuda", 1, 0); }));
  EXPECT_TRUE(refused([] { backend_of("cuda").make_ops(Tensor{}); }));
}

/// What four ranks answer.
class Answers final : public Exchange {
 public:
  explicit Answers(std::vector<std::string> all) : all_(std::move(all)) {}
  int rank() const override { return 0; }
  int size() const override { return static_cast<int>(all_.size()); }
  std::vector<std::string> all_gather(const std::string&) override { return all_; }

 private:
  std::vector<std::string> all_;
};

/// One rank's.
class Alone final : public Exchange {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> all_gather(const std::string& mine) override { return {mine}; }
};

TEST(Rates, OnTheCpuProductsInEightBitsHaveThatOfItsOwn) {
  Alone ranks;
  Machine machine;
  machine.kind = "cpu";
  const DeviceRates with = mean_rates(machine, DType::bf16, true, ranks);
  EXPECT_GT(with.flops, 0);
  EXPECT_GT(with.bytes, 0);
  EXPECT_EQ(with.f8_flops, with.flops);
  EXPECT_EQ(mean_rates(machine, DType::bf16, false, ranks).f8_flops, 0);
}

TEST(Device, AutoIsCudaWhereEveryRankSeesAGpu) {
  const NodeMap nodes = NodeMap::even(4, 2);
  const auto settled = [&](const char* asked, std::vector<std::string> devices) {
    Answers ranks(std::move(devices));
    return settle_device(asked, nodes, ranks);
  };
  EXPECT_EQ(settled("auto", {"4", "4", "1", "1"}), "cuda");
  EXPECT_EQ(settled("auto", {"0", "0", "0", "0"}), "cpu");
  EXPECT_EQ(settled("cpu", {"4", "4", "4", "4"}), "cpu");
  EXPECT_EQ(settled("cuda", {"0", "0", "0", "0"}), "cuda");
  try {
    settled("auto", {"4", "4", "4", "0"});
    FAIL() << "rank 3 has no GPU";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_NE(std::string(e.what()).find("rank 3 (node1) sees no GPU, and 3 of 4"), std::string::npos) << e.what();
  }
}

TEST(Device, IsSharedByTheRanksOfANodeThatNameTheSame) {
  const NodeMap nodes = NodeMap::even(4, 2);
  const DeviceShares one_each = share_devices({"a", "b", "a", "b"}, nodes);  // the names are the node's own
  EXPECT_FALSE(one_each.shared());
  EXPECT_EQ(one_each.users, (std::vector<int>{1, 1, 1, 1}));
  const DeviceShares dealt = share_devices({"a", "a", "a", "b"}, nodes);
  EXPECT_TRUE(dealt.shared());
  EXPECT_EQ(dealt.devices, 3);
  EXPECT_EQ(dealt.users, (std::vector<int>{2, 2, 1, 1}));
}

}  // namespace
}  // namespace sherd::app
