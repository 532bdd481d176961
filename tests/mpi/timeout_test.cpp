// A rank that does not come is named, by those who wait, within the deadline; when it does come in the end, it fails in
// its turn and everything ends.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "session.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

class Timeout : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size(), absent = size - 1;
  cpu::Device device{{cpu::Schedule::in_order, false, false, 1}};
  std::unique_ptr<Stream> stream = device.stream("comm", StreamKind::communication);
  std::vector<float> slab = std::vector<float>(16384);

  std::unique_ptr<Communicator> make(double timeout, std::string record = "") {
    MpiOptions options;
    options.timeout_seconds = timeout;
    options.flight_record = std::move(record);
    for (int r = 0; r < size; ++r) options.rank_names.push_back(fmt::format("rank {} (host{})", r, r));
    const Tensor staging = Tensor::make(slab.data(), DType::f32, {16384});
    return make_mpi_communicator(MpiComm::duplicate(test::session().world()), "shard", staging, options);
  }
  /// The message of what `call` throws once the stream is synchronized; empty if nothing.
  template <class F>
  std::string error_of(F&& call) {
    try {
      call();
      stream->synchronize();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::communication);
      return e.what();
    }
    return "";
  }
  void meet() const { MPI_CHECK(MPI_Barrier(test::session().world())); }
};

TEST_F(Timeout, NamesWhoIsMissing) {
  if (size == 1) GTEST_SKIP() << "needs a peer";
  const std::string record = fmt::format("timeout_test.rank{}.json", rank);
  const auto c = make(1.0, record);
  std::vector<float> shard(4000), full(static_cast<std::size_t>(4000 * size));  // 16 KB: a rendezvous, held up
  const Tensor f = Tensor::make(full.data(), DType::f32, {4000 * size}),
               s = Tensor::make(shard.data(), DType::f32, {4000});
  std::string message;
  meet();
  if (rank != absent)
    message = error_of([&] { c->reduce_scatter(f, s, 0.0f, {"reduce model.layers.3", 12}, *stream); });
  meet();  // the absent rank has done nothing until all others have given up
  if (rank == absent) return;
  EXPECT_NE(message.find(fmt::format(
                "rank {} (host{}), reduce_scatter 'reduce model.layers.3' of step 12 on axis shard", rank, rank)),
            std::string::npos)
      << message;
  EXPECT_NE(message.find(fmt::format("waited 1 s in vain for rank {} (host{}), which has not arrived", absent, absent)),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("raise --comm-timeout"), std::string::npos) << message;
  EXPECT_NE(message.find(record), std::string::npos) << message;
  std::ifstream file(record);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find("\"what\": \"reduce model.layers.3\", \"step\": 12"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("\"end\": null"), std::string::npos) << text.str();
  std::remove(record.c_str());
}

TEST_F(Timeout, EndsCleanlyWhenTheMissingRankComesLate) {
  if (size == 1) GTEST_SKIP() << "needs a peer";
  const auto c = make(0.3);
  std::vector<float> v = {1};
  const Tensor t = Tensor::make(v.data(), DType::f32, {1});
  if (rank != absent) {
    EXPECT_NE(error_of([&] { c->all_reduce(t, {"norm", 1}, *stream); }), "");
  }
  meet();
  if (rank == absent) {
    EXPECT_EQ(error_of([&] { c->all_reduce(t, {"norm", 1}, *stream); }), "");  // their small messages were waiting
    EXPECT_EQ(v[0], static_cast<float>(size));
  }
  meet();
}

TEST_F(Timeout, IsNotForRanksThatAreOnlyLate) {
  const auto c = make(2.0);
  for (int i = 0; i < 3; ++i) {
    if (rank == absent && i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // the roll: at 1000
    std::vector<float> v = {1};
    c->all_reduce(Tensor::make(v.data(), DType::f32, {1}), {"norm", i}, *stream);
    stream->synchronize();
    EXPECT_EQ(v[0], static_cast<float>(size));
  }
}

TEST_F(Timeout, RanksThatDisagreeOnTheNextCollectiveDoNotMix) {
  if (size == 1) GTEST_SKIP() << "needs a peer";
  const auto c = make(0.3);
  std::vector<float> v(static_cast<std::size_t>(size), 5.0f);
  const Tensor t = Tensor::make(v.data(), DType::f32, {size});
  const std::string message = error_of([&] {
    if (rank == 0)
      c->all_gather(t.flat(0, 1), t, {"one", 0}, *stream);
    else
      c->all_reduce(t, {"another", 0}, *stream);
  });
  EXPECT_NE(message.find("in vain"), std::string::npos) << message;
  meet();
}

/// A rank that has failed must not sit out the deadline in a collective: it has to end the job.
TEST_F(Timeout, IsNotWaitedForByARankThatFailedItself) {
  const auto c = make(100.0);
  const auto start = std::chrono::steady_clock::now();
  if (rank != absent || size == 1) {
    cpu::Device threads;
    const auto comm = threads.stream("comm", StreamKind::communication);
    const auto compute = threads.stream("compute", StreamKind::compute);
    c->barrier({"never comes", 0}, *comm);
    cpu::enqueue(*compute, "fails", {}, [] { throw numerical_error("the loss is not a number"); });
    EXPECT_THROW(compute->synchronize(), Error);
    EXPECT_THROW(comm->synchronize(), Error);
  }
  meet();
  const auto gives_up = [&] {
    cpu::Device threads;
    const auto comm = threads.stream("comm", StreamKind::communication);
    c->barrier({"never comes either", 0}, *comm);
    throw bad_input("a file that is not there");  // on the host, while the stream is busy
  };
  if (rank != absent) {
    EXPECT_THROW(gives_up(), Error);
  }
  meet();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(50));
}

TEST_F(Timeout, AFlightRecordThatCannotBeWrittenIsSaid) {
  if (size == 1) GTEST_SKIP() << "needs a peer";
  const auto c = make(0.3, "no/such/directory/record.json");
  if (rank != absent) {
    const std::string message = error_of([&] { c->barrier({"end", 0}, *stream); });
    EXPECT_NE(message.find("no/such/directory/record.json cannot be written"), std::string::npos) << message;
  }
  meet();
}

}  // namespace
}  // namespace sherd
