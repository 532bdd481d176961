// Every collective against sums written here from the definition: rank r's input is a formula, so each rank can compute
// what all others hold.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "session.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

/// Element i of rank r's input: of very different sizes, so that the order of a sum shows in its bits.
/// Not inlined: fused multiply-adds would differ from place to place.
[[gnu::noinline]] float value(int rank, std::int64_t i) {
  const double x = std::sin(static_cast<double>(i) * 0.37 + rank * 1.7);
  return static_cast<float>(x * std::pow(10.0, static_cast<double>((i + rank) % 7) - 3.0));
}

Tensor f32(std::vector<float>& v) {
  return Tensor::make(v.data(), DType::f32, {static_cast<std::int64_t>(v.size())});
}
Tensor half(std::vector<bf16>& v) {
  return Tensor::make(v.data(), DType::bf16, {static_cast<std::int64_t>(v.size())});
}

class Collectives : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size();
  cpu::Device device{{cpu::Schedule::threaded, false, false, 1}};
  std::unique_ptr<Stream> stream = device.stream("comm", StreamKind::communication);
  std::vector<float> slab = std::vector<float>(16384);  // 64 KiB: landings of 4 KiB
  CommTag tag{"test", 7};

  std::unique_ptr<Communicator> make(std::int64_t message_bytes = std::int64_t{512} << 10) {
    MpiOptions options;
    options.timeout_seconds = 60;
    options.message_bytes = message_bytes;
    return make_mpi_communicator(MpiComm::duplicate(test::session().world()), "world", f32(slab), options);
  }
  std::vector<float> input(std::int64_t n, int of_rank) const {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = value(of_rank, i);
    return v;
  }
  std::vector<bf16> input_bf16(std::int64_t n, int of_rank) const {
    std::vector<bf16> v;
    for (const float x : input(n, of_rank)) v.push_back(bf16(x));
    return v;
  }
  /// By the header: ((start + part of r) + part of r - 1) + ...
  std::vector<float> expected_shard(std::int64_t s, const std::vector<float>& start, bool narrow) const {
    std::vector<float> sum = start;
    for (std::int64_t i = 0; i < s; ++i) {
      for (int k = 0; k < size; ++k) {
        const float x = value((rank - k + size) % size, rank * s + i);
        sum[static_cast<std::size_t>(i)] += narrow ? static_cast<float>(bf16(x)) : x;
      }
    }
    return sum;
  }
};

TEST_F(Collectives, AllGatherPutsEveryPartInItsPlace) {
  for (const std::int64_t message_bytes : {std::int64_t{512} << 10, std::int64_t{1000}}) {
    const auto c = make(message_bytes);
    for (const std::int64_t s : {0, 1, 5, 3001, 70000}) {
      std::vector<float> full(static_cast<std::size_t>(s * size)), want;
      std::vector<float> mine = input(s, rank);
      for (int r = 0; r < size; ++r) {
        for (const float x : input(s, r)) want.push_back(x);
      }
      c->all_gather(f32(mine), f32(full), tag, *stream);
      stream->synchronize();
      EXPECT_EQ(full, want) << s << " elements, messages of " << message_bytes;
      std::fill(full.begin(), full.end(), -1.0f);
      std::copy(mine.begin(), mine.end(), full.begin() + rank * s);
      c->all_gather(f32(full).flat(rank * s, s), f32(full), tag, *stream);
      stream->synchronize();
      EXPECT_EQ(full, want) << s << " elements in place";
    }
  }
}

TEST_F(Collectives, AllGatherTakesBf16AndIntegers) {
  const auto c = make();
  std::vector<bf16> mine = input_bf16(77, rank), full(static_cast<std::size_t>(77 * size));
  std::vector<std::int32_t> id = {rank + 100}, ids(static_cast<std::size_t>(size));
  c->all_gather(half(mine), half(full), tag, *stream);
  c->all_gather(Tensor::make(id.data(), DType::i32, {1}), Tensor::make(ids.data(), DType::i32, {size}), tag, *stream);
  stream->synchronize();
  for (int r = 0; r < size; ++r) {
    EXPECT_EQ(ids[static_cast<std::size_t>(r)], r + 100);
    EXPECT_EQ(0, std::memcmp(&full[static_cast<std::size_t>(77 * r)], input_bf16(77, r).data(), 77 * 2));
  }
}

TEST_F(Collectives, ReduceScatterSumsInTheOrderOfTheHeader) {
  for (const std::int64_t message_bytes : {std::int64_t{512} << 10, std::int64_t{200}}) {
    const auto c = make(message_bytes);
    for (const std::int64_t s : {0, 1, 3, 1025, 40001}) {  // the last is 40 landings
      for (const float beta : {0.0f, 1.0f}) {
        const std::vector<float> old(static_cast<std::size_t>(s), 0.1f), zero(static_cast<std::size_t>(s));
        std::vector<float> full = input(s * size, rank), shard = old;
        c->reduce_scatter(f32(full), f32(shard), beta, tag, *stream);
        stream->synchronize();
        EXPECT_EQ(shard, expected_shard(s, beta == 0.0f ? zero : old, false)) << s << " f32, beta " << beta;
        EXPECT_EQ(full, input(s * size, rank)) << "the input was changed";

        std::vector<bf16> wire = input_bf16(s * size, rank);
        shard = old;
        c->reduce_scatter(half(wire), f32(shard), beta, tag, *stream);
        stream->synchronize();
        EXPECT_EQ(shard, expected_shard(s, beta == 0.0f ? zero : old, true)) << s << " bf16, beta " << beta;
      }
    }
  }
}

TEST_F(Collectives, ReduceScatterWorksInPlace) {
  const auto c = make();
  const std::int64_t s = 5000;
  std::vector<float> full = input(s * size, rank);
  const Tensor own = f32(full).flat(rank * s, s);
  c->reduce_scatter(f32(full), own, 0.0f, tag, *stream);
  stream->synchronize();
  const auto want = expected_shard(s, std::vector<float>(static_cast<std::size_t>(s)), false);
  EXPECT_TRUE(std::equal(want.begin(), want.end(), own.as<float>().begin()));
}

TEST_F(Collectives, AllReduceGivesTheSameBitsEverywhere) {
  const auto c = make();
  for (const std::int64_t n : {0, 1, 7, 1024, 1020 * 12, 30000 * 12}) {
    std::vector<float> sum = input(n, rank);
    c->all_reduce(f32(sum), tag, *stream);
    std::vector<float> everyones(static_cast<std::size_t>(n * size));
    c->all_gather(f32(sum), f32(everyones), tag, *stream);
    stream->synchronize();
    for (int r = 0; r < size; ++r) {
      EXPECT_EQ(0, std::memcmp(everyones.data() + r * n, sum.data(), static_cast<std::size_t>(n) * 4)) << n;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      double want = 0, scale = 0;
      for (int r = 0; r < size; ++r) {
        want += value(r, i);
        scale += std::fabs(value(r, i));
      }
      ASSERT_NEAR(sum[static_cast<std::size_t>(i)], want, 3e-7 * scale) << i << " of " << n;
    }
  }
}

TEST_F(Collectives, BroadcastComesFromItsRoot) {
  for (const std::int64_t message_bytes : {std::int64_t{512} << 10, std::int64_t{64}}) {
    const auto c = make(message_bytes);
    for (int root = 0; root < size; ++root) {
      std::vector<float> v = input(333, rank);
      c->broadcast(f32(v), root, tag, *stream);
      stream->synchronize();
      EXPECT_EQ(v, input(333, root));
    }
  }
}

/// Nobody leaves before the last has come. The steady clock is one for all processes of a machine.
TEST_F(Collectives, BarrierWaitsForAll) {
  const auto c = make();
  for (int last = 0; last < size; ++last) {
    if (rank == last) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::int64_t entered = std::chrono::steady_clock::now().time_since_epoch().count(), latest = 0;
    c->barrier(tag, *stream);
    stream->synchronize();
    const std::int64_t left = std::chrono::steady_clock::now().time_since_epoch().count();
    MPI_CHECK(MPI_Allreduce(&entered, &latest, 1, MPI_INT64_T, MPI_MAX, test::session().world()));
    EXPECT_GE(left, latest);
  }
}

TEST_F(Collectives, RunTwiceGiveTheSameBits) {
  std::vector<float> first, second;
  for (std::vector<float>* out : {&first, &second}) {
    const auto c = make();
    std::vector<float> full = input(20000 * size, rank), sum = input(12 * 5000, rank);
    out->resize(20000);
    c->reduce_scatter(f32(full), f32(*out), 0.0f, tag, *stream);
    c->all_reduce(f32(sum), tag, *stream);
    stream->synchronize();
    out->insert(out->end(), sum.begin(), sum.end());
  }
  EXPECT_EQ(0, std::memcmp(first.data(), second.data(), first.size() * 4));
}

/// Counted at MPI_Isend; the values are DESIGN.md's (P - 1) S and 2 (P - 1) n / P, and the plan's communicator agrees.
TEST_F(Collectives, CountsWhatItHandsToMpi) {
  const auto mpi = make(1000);
  const auto plan = make_recording_communicator("world", rank, size);
  std::vector<float> full(static_cast<std::size_t>(600 * size)), shard(600), small(10), big(1200);
  std::vector<bf16> wire(static_cast<std::size_t>(600 * size));
  for (Communicator* c : {mpi.get(), plan.get()}) {
    c->all_gather(f32(shard), f32(full), tag, *stream);
    c->reduce_scatter(f32(full), f32(shard), 1.0f, tag, *stream);
    c->reduce_scatter(half(wire), f32(shard), 0.0f, tag, *stream);
    c->all_reduce(f32(small), tag, *stream);
    c->all_reduce(f32(big), tag, *stream);
    c->broadcast(f32(small), size - 1, tag, *stream);
    c->barrier(tag, *stream);
    stream->synchronize();
    const Traffic t = c->traffic();
    const std::int64_t peers = size - 1;
    const std::int64_t bytes[kCollectives] = {peers * 2400, peers * (2400 + 1200), peers * 40 + 2 * peers * 4800 / size,
                                              rank == size - 1 ? peers * 40 : 0, 0};
    const std::int64_t calls[kCollectives] = {1, 2, 2, 1, 1};
    for (std::size_t i = 0; i < kCollectives; ++i) {
      EXPECT_EQ(t.row[i].bytes_sent, bytes[i]) << name_of(static_cast<Collective>(i));
      EXPECT_EQ(t.row[i].calls, calls[i]) << name_of(static_cast<Collective>(i));
    }
  }
}

/// The staging slab is declared: another stream that touches it unordered is reported.
TEST_F(Collectives, DeclareTheirStaging) {
  cpu::Device checked{{cpu::Schedule::first_stream_first, true, false, 1}};
  const auto comm = checked.stream("comm", StreamKind::communication),
             other = checked.stream("other", StreamKind::communication);
  const auto c = make();
  std::vector<float> v(10);
  c->all_reduce(f32(v), tag, *comm);
  EXPECT_THROW(cpu::enqueue(*other, "intruder", cpu::access({}, {f32(slab)}), [] {}), Error);
  comm->synchronize();
}

}  // namespace
}  // namespace sherd
