// What ranks tell each other between steps: whole strings in rank order, an error of one on all, and a deadline.
#include "sherd/data/exchange.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "session.hpp"

namespace sherd::test {
namespace {

TEST(Exchange, GathersStringsOfAnyLengthInRankOrder) {
  const auto host = mpi_exchange(session().world());
  for (int round = 0; round < 50; ++round) {
    const auto of = [&](int rank) {
      const auto length = static_cast<std::size_t>(rank + round) % 3 * (round == 7 ? 3'000'000 : 100);
      return std::string(length, static_cast<char>('a' + rank));
    };
    const std::vector<std::string> all = host->all_gather(of(session().rank()));
    ASSERT_EQ(static_cast<int>(all.size()), session().size());
    for (int rank = 0; rank < session().size(); ++rank) ASSERT_TRUE(all[static_cast<std::size_t>(rank)] == of(rank));
  }
}

TEST(Exchange, AnErrorOfOneRankIsThatOfAll) {
  const auto host = mpi_exchange(session().world());
  const int last = session().size() - 1;
  const auto error = first_error(*host, [&] {
    if (session().rank() == last) throw std::bad_alloc();
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ExitCode::does_not_fit);
  EXPECT_EQ(error->teller(), last);
  EXPECT_FALSE(first_error(*host, [] {}));
}

TEST(Exchange, NamesTheRankThatDoesNotCome) {
  if (session().size() < 2) GTEST_SKIP() << "needs a rank that can be late";
  const auto host = mpi_exchange(session().world(), 0.3);
  std::string message;
  if (session().rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  try {
    host->all_gather("");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::communication);
    message = e.what();
  }
  const char* expected = session().rank() == 0 ? "rank 1 did not come within" : "nothing came from rank 0";
  EXPECT_THAT(message, testing::HasSubstr(expected));
  MPI_CHECK(MPI_Barrier(session().world()));
}

}  // namespace
}  // namespace sherd::test
