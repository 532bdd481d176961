// Collectives staged through the host, against the CPU's own: the same bits, however the tensor is cut; and an axis of
// one rank. Linked with cuda_place.cpp, whose staging has 64 KiB.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "place.hpp"
#include "session.hpp"
#include "sherd/comm/staged.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

class Staged : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size();
  const std::unique_ptr<test::Place> place = test::make_place();
  std::unique_ptr<Stream> stream = place->device().stream("comm", StreamKind::communication);
  std::unique_ptr<Communicator> staged = place->join(world(), "world", {});
  const CommTag tag{"test", 7};

  cpu::Device host{{cpu::Schedule::in_order, false, false, 1}};
  std::unique_ptr<Stream> host_stream = host.stream("comm", StreamKind::communication);
  std::vector<float> slab = std::vector<float>(16384);
  std::unique_ptr<Communicator> mpi = make_mpi_communicator(world(), "world", f32(slab), {});

  static MpiComm world() { return MpiComm::duplicate(test::session().world()); }
  static Tensor f32(std::vector<float>& v) {
    return Tensor::make(v.data(), DType::f32, {static_cast<std::int64_t>(v.size())});
  }
  /// Of very different sizes, so that the order of a sum shows in its bits.
  std::vector<float> input(std::int64_t n) const {
    std::vector<float> v;
    for (std::int64_t i = 0; i < n; ++i) {
      const double x = std::sin(static_cast<double>(i) * 0.71 + rank * 2.3);
      v.push_back(static_cast<float>(x * std::pow(10.0, static_cast<double>((i + rank) % 9) - 4.0)));
    }
    return v;
  }
  static void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, std::int64_t n) {
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * sizeof(float))) << n << " elements";
  }
};

/// Around the limit of the small sums, and around those of one and of several runs.
TEST_F(Staged, AllReduceHasTheBitsOfTheCpus) {
  for (const std::int64_t parts : {1, 85, 86, 90, 1365, 1366, 1400, 2731, 2732, 20001}) {
    const std::int64_t n = parts * 12;  // a multiple of 1, 2, 3 and 4 ranks; 1365 x 12 floats are the staging
    test::Tensors at(*place);
    std::vector<float> expected = input(n);
    const Tensor inout = at.put(expected);
    staged->all_reduce(inout, tag, *stream);
    stream->synchronize();
    mpi->all_reduce(f32(expected), tag, *host_stream);
    host_stream->synchronize();
    expect_same_bits(at.get<float>(inout), expected, n);
  }
}

TEST_F(Staged, ReduceScatterHasTheBitsOfTheCpus) {
  for (const std::int64_t s : {1, 3276, 3277, 3278, 8192, 50001}) {  // 3276 (1 + 4 ranks) floats are the staging
    for (const float beta : {0.0f, 1.0f}) {
      test::Tensors at(*place);
      std::vector<float> full = input(s * size), expected = input(s);
      const Tensor shard = at.put(expected);
      staged->reduce_scatter(at.put(full), shard, beta, tag, *stream);
      stream->synchronize();
      mpi->reduce_scatter(f32(full), f32(expected), beta, tag, *host_stream);
      host_stream->synchronize();
      expect_same_bits(at.get<float>(shard), expected, s);
    }
  }
}

TEST_F(Staged, AnAxisOfOneCopiesAndSendsNothing) {
  const auto staging = make_host_staging(64 << 10);
  const auto alone = staging->alone("shard");
  EXPECT_EQ(alone->axis(), "shard");
  EXPECT_EQ(alone->size(), 1);
  const std::int64_t n = 40000;
  test::Tensors at(*place);
  const std::vector<float> mine = input(n);
  const Tensor shard = at.put(mine), full = at.put(std::vector<float>(static_cast<std::size_t>(n)));
  alone->all_gather(shard, full, tag, *stream);
  stream->synchronize();
  EXPECT_EQ(at.get<float>(full), mine);
  alone->reduce_scatter(full, shard, 1.0f, tag, *stream);
  alone->all_reduce(shard, tag, *stream);
  alone->broadcast(shard, 0, tag, *stream);
  alone->barrier(tag, *stream);
  stream->synchronize();
  std::vector<float> doubled = mine;
  for (float& x : doubled) x += x;
  EXPECT_EQ(at.get<float>(shard), doubled);
  EXPECT_EQ(alone->traffic().bytes_sent(), 0);
  for (const Traffic::Row& row : alone->traffic().row) EXPECT_EQ(row.calls, 1);
}

TEST_F(Staged, RefusesWhatTheOthersRefuse) {
  test::Tensors at(*place);
  const Tensor t = at.put(std::vector<float>(1025 * 5));
  EXPECT_THROW(staged->all_gather(t.flat(0, 7), t, tag, *stream), Error);
  if (size > 1 && (1025 * 5) % size != 0) {
    EXPECT_THROW(staged->all_reduce(t, tag, *stream), Error);
  }
  EXPECT_THROW(staged->broadcast(t, size, tag, *stream), Error);
}

}  // namespace
}  // namespace sherd
