// Every collective against sums written here from the definition: rank r's input is a formula, so each rank can compute
// what all others hold. Where the tensors lie is place.hpp's affair.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "place.hpp"
#include "session.hpp"

namespace sherd {
namespace {

/// Element i of rank r's input: of very different sizes, so that the order of a sum shows in its bits.
/// Not inlined: fused multiply-adds would differ from place to place.
[[gnu::noinline]] float value(int rank, std::int64_t i) {
  const double x = std::sin(static_cast<double>(i) * 0.37 + rank * 1.7);
  return static_cast<float>(x * std::pow(10.0, static_cast<double>((i + rank) % 7) - 3.0));
}

class Collectives : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size();
  const std::unique_ptr<test::Place> place = test::make_place();
  std::unique_ptr<Stream> stream = place->device().stream("comm", StreamKind::communication);
  CommTag tag{"test", 7};

  std::unique_ptr<Communicator> make(std::int64_t message_bytes = std::int64_t{512} << 10) {
    MpiOptions options;
    options.timeout_seconds = 60;
    options.message_bytes = message_bytes;
    return place->join(MpiComm::duplicate(test::session().world()), "world", options);
  }
  static std::vector<float> filled(std::int64_t n, float x) { return std::vector(static_cast<std::size_t>(n), x); }
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
      test::Tensors at(*place);
      const std::vector<float> mine = input(s, rank);
      std::vector<float> want, own_part_only = filled(s * size, -1.0f);
      for (int r = 0; r < size; ++r) {
        for (const float x : input(s, r)) want.push_back(x);
      }
      const Tensor full = at.put(filled(s * size, 0.0f));
      c->all_gather(at.put(mine), full, tag, *stream);
      stream->synchronize();
      EXPECT_EQ(at.get<float>(full), want) << s << " elements, messages of " << message_bytes;
      std::copy(mine.begin(), mine.end(), own_part_only.begin() + rank * s);
      const Tensor whole = at.put(own_part_only);
      c->all_gather(whole.flat(rank * s, s), whole, tag, *stream);
      stream->synchronize();
      EXPECT_EQ(at.get<float>(whole), want) << s << " elements in place";
    }
  }
}

TEST_F(Collectives, AllGatherTakesBf16AndIntegers) {
  const auto c = make();
  test::Tensors at(*place);
  const Tensor full = at.put(std::vector<bf16>(static_cast<std::size_t>(77 * size)));
  const Tensor ids = at.put(std::vector<std::int32_t>(static_cast<std::size_t>(size)));
  c->all_gather(at.put(input_bf16(77, rank)), full, tag, *stream);
  c->all_gather(at.put(std::vector<std::int32_t>{rank + 100}), ids, tag, *stream);
  stream->synchronize();
  const std::vector<bf16> gathered = at.get<bf16>(full);
  for (int r = 0; r < size; ++r) {
    EXPECT_EQ(at.get<std::int32_t>(ids)[static_cast<std::size_t>(r)], r + 100);
    EXPECT_EQ(0, std::memcmp(&gathered[static_cast<std::size_t>(77 * r)], input_bf16(77, r).data(), 77 * 2));
  }
}

TEST_F(Collectives, ReduceScatterSumsInTheOrderOfTheHeader) {
  for (const std::int64_t message_bytes : {std::int64_t{512} << 10, std::int64_t{200}}) {
    const auto c = make(message_bytes);
    for (const std::int64_t s : {0, 1, 3, 1025, 40001}) {  // the last is 40 landings
      for (const float beta : {0.0f, 1.0f}) {
        test::Tensors at(*place);
        const std::vector<float> old = filled(s, 0.1f), start = beta == 0.0f ? filled(s, 0.0f) : old;
        const Tensor full = at.put(input(s * size, rank)), shard = at.put(old);
        c->reduce_scatter(full, shard, beta, tag, *stream);
        stream->synchronize();
        EXPECT_EQ(at.get<float>(shard), expected_shard(s, start, false)) << s << " f32, beta " << beta;
        EXPECT_EQ(at.get<float>(full), input(s * size, rank)) << "the input was changed";

        place->write(shard, old.data());
        c->reduce_scatter(at.put(input_bf16(s * size, rank)), shard, beta, tag, *stream);
        stream->synchronize();
        EXPECT_EQ(at.get<float>(shard), expected_shard(s, start, true)) << s << " bf16, beta " << beta;
      }
    }
  }
}

TEST_F(Collectives, ReduceScatterWorksInPlace) {
  const auto c = make();
  test::Tensors at(*place);
  const std::int64_t s = 5000;
  const Tensor full = at.put(input(s * size, rank)), own = full.flat(rank * s, s);
  c->reduce_scatter(full, own, 0.0f, tag, *stream);
  stream->synchronize();
  EXPECT_EQ(at.get<float>(own), expected_shard(s, filled(s, 0.0f), false));
}

TEST_F(Collectives, AllReduceGivesTheSameBitsEverywhere) {
  const auto c = make();
  for (const std::int64_t n : {0, 1, 7, 1024, 1020 * 12, 30000 * 12}) {
    test::Tensors at(*place);
    const Tensor inout = at.put(input(n, rank)), everyones = at.put(filled(n * size, 0.0f));
    c->all_reduce(inout, tag, *stream);
    c->all_gather(inout, everyones, tag, *stream);
    stream->synchronize();
    const std::vector<float> sum = at.get<float>(inout), all = at.get<float>(everyones);
    for (int r = 0; r < size; ++r) {
      EXPECT_EQ(0, std::memcmp(all.data() + r * n, sum.data(), static_cast<std::size_t>(n) * 4)) << n;
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
      for (const std::int64_t n : {333, 30000}) {
        test::Tensors at(*place);
        const Tensor v = at.put(input(n, rank));
        c->broadcast(v, root, tag, *stream);
        stream->synchronize();
        EXPECT_EQ(at.get<float>(v), input(n, root));
      }
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
    test::Tensors at(*place);
    const Tensor shard = at.put(filled(20000, 0.0f)), sum = at.put(input(12 * 5000, rank));
    c->reduce_scatter(at.put(input(20000 * size, rank)), shard, 0.0f, tag, *stream);
    c->all_reduce(sum, tag, *stream);
    stream->synchronize();
    *out = at.get<float>(shard);
    const std::vector<float> reduced = at.get<float>(sum);
    out->insert(out->end(), reduced.begin(), reduced.end());
  }
  EXPECT_EQ(0, std::memcmp(first.data(), second.data(), first.size() * 4));
}

/// Counted at MPI_Isend; the values are DESIGN.md's (P - 1) S and 2 (P - 1) n / P, and the plan's communicator agrees.
/// A tensor that goes in several pieces is one call.
TEST_F(Collectives, CountsWhatItHandsToMpi) {
  const auto mpi = make(1000);
  const auto plan = make_recording_communicator("world", rank, size);
  test::Tensors at(*place);
  const std::int64_t S = 30000, n = 48000;
  const Tensor full = at.put(filled(S * size, 0.0f)), shard = at.put(filled(S, 0.0f)), small = at.put(filled(10, 0.0f)),
               big = at.put(filled(n, 0.0f)), wire = at.put(std::vector<bf16>(static_cast<std::size_t>(S * size)));
  for (Communicator* c : {mpi.get(), plan.get()}) {
    c->all_gather(shard, full, tag, *stream);
    c->reduce_scatter(full, shard, 1.0f, tag, *stream);
    c->reduce_scatter(wire, shard, 0.0f, tag, *stream);
    c->all_reduce(small, tag, *stream);
    c->all_reduce(big, tag, *stream);
    c->broadcast(small, size - 1, tag, *stream);
    c->barrier(tag, *stream);
    stream->synchronize();
    const Traffic t = c->traffic();
    const std::int64_t peers = size - 1;
    const std::int64_t bytes[kCollectives] = {peers * S * 4, peers * S * (4 + 2), peers * 40 + 2 * peers * n * 4 / size,
                                              rank == size - 1 ? peers * 40 : 0, 0};
    const std::int64_t calls[kCollectives] = {1, 2, 2, 1, 1};
    for (std::size_t i = 0; i < kCollectives; ++i) {
      EXPECT_EQ(t.row[i].bytes_sent, bytes[i]) << name_of(static_cast<Collective>(i));
      EXPECT_EQ(t.row[i].calls, calls[i]) << name_of(static_cast<Collective>(i));
    }
  }
}

}  // namespace
}  // namespace sherd
