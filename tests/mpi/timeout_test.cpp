// A rank that does not come is named, by those who wait, within the deadline; when it does come in the end, it fails in
// its turn and everything ends.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "place.hpp"
#include "session.hpp"

namespace sherd {
namespace {

class Timeout : public ::testing::Test {
 protected:
  const int rank = test::session().rank(), size = test::session().size(), absent = size - 1;
  const std::unique_ptr<test::Place> place = test::make_place();
  std::unique_ptr<Stream> stream = place->device().stream("comm", StreamKind::communication);

  std::unique_ptr<Communicator> make(double timeout, std::string record = "") {
    MpiOptions options;
    options.timeout_seconds = timeout;
    options.flight_record = std::move(record);
    for (int r = 0; r < size; ++r) options.rank_names.push_back(fmt::format("rank {} (host{})", r, r));
    return place->join(MpiComm::duplicate(test::session().world()), "shard", options);
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
  test::Tensors at(*place);
  const Tensor f = at.put(std::vector<float>(static_cast<std::size_t>(4000 * size)));
  const Tensor s = at.put(std::vector<float>(4000));  // 16 KB: a rendezvous, held up
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
  test::Tensors at(*place);
  const Tensor t = at.put(std::vector<float>{1});
  if (rank != absent) {
    EXPECT_NE(error_of([&] { c->all_reduce(t, {"norm", 1}, *stream); }), "");
  }
  meet();
  if (rank == absent) {
    EXPECT_EQ(error_of([&] { c->all_reduce(t, {"norm", 1}, *stream); }), "");  // their small messages were waiting
    EXPECT_EQ(at.get<float>(t)[0], static_cast<float>(size));
  }
  meet();
}

TEST_F(Timeout, IsNotForRanksThatAreOnlyLate) {
  const auto c = make(2.0);
  for (int i = 0; i < 3; ++i) {
    if (rank == absent && i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // the roll: at 1000
    test::Tensors at(*place);
    const Tensor t = at.put(std::vector<float>{1});
    c->all_reduce(t, {"norm", i}, *stream);
    stream->synchronize();
    EXPECT_EQ(at.get<float>(t)[0], static_cast<float>(size));
  }
}

TEST_F(Timeout, RanksThatDisagreeOnTheNextCollectiveDoNotMix) {
  if (size == 1) GTEST_SKIP() << "needs a peer";
  const auto c = make(0.3);
  test::Tensors at(*place);
  const Tensor t = at.put(std::vector<float>(static_cast<std::size_t>(size), 5.0f));
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
TEST_F(Timeout, IsNotWaitedForByARankWhoseHostGivesUp) {
  const auto c = make(100.0);
  const auto start = std::chrono::steady_clock::now();
  const auto gives_up = [&] {
    const auto own = test::make_place();
    const auto comm = own->device().stream("comm", StreamKind::communication);
    c->barrier({"never comes", 0}, *comm);
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
