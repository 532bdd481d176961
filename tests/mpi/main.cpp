// main() of the GoogleTest binaries that run under MPI. Every rank runs every test; rank 0 prints the log, the others
// print only what failed on them, and a failure anywhere makes all ranks return 1.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "session.hpp"
#include "sherd/base/log.hpp"

namespace sherd::test {
namespace {

std::unique_ptr<MpiSession>& held() {
  static std::unique_ptr<MpiSession> s;
  return s;
}

/// The log of a rank that is not 0.
class OnlyFailures final : public ::testing::EmptyTestEventListener {
 public:
  explicit OnlyFailures(int rank) : rank_(rank) {}
  void OnTestPartResult(const ::testing::TestPartResult& r) override {
    if (r.failed()) std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_, r.file_name(), r.line_number(), r.message());
  }

 private:
  int rank_;
};

int run() {
  const int rank = session().rank();
  log::init(rank, session().size());
  if (rank != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(std::make_unique<OnlyFailures>(rank).release());  // GoogleTest takes it over
  }
  const int mine = RUN_ALL_TESTS();
  int worst = 1;
  MPI_CHECK(MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, session().world()));
  if (rank == 0 && mine == 0 && worst != 0) std::fprintf(stderr, "a test failed on another rank\n");
  return worst;
}

}  // namespace

MpiSession& session() {
  return *held();
}

}  // namespace sherd::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  sherd::test::held() = std::make_unique<sherd::MpiSession>();
  const int result = sherd::test::run();
  sherd::test::held().reset();  // finalizes before static destructors run
  return result;
}
