// What only the CPU's streams show: the staging slab is declared, and a stream that fails ends the collectives of
// another.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "place.hpp"
#include "session.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

/// Another stream that touches the slab unordered is reported.
TEST(CpuStreams, CollectivesDeclareTheirStaging) {
  cpu::Device checked{{cpu::Schedule::first_stream_first, true, false, 1}};
  const auto comm = checked.stream("comm", StreamKind::communication),
             other = checked.stream("other", StreamKind::communication);
  std::vector<float> memory(16384), v(10);
  const Tensor slab = Tensor::make(memory.data(), DType::f32, {16384});
  const auto c = make_mpi_communicator(MpiComm::duplicate(test::session().world()), "world", slab, {});
  c->all_reduce(Tensor::make(v.data(), DType::f32, {10}), {"test", 7}, *comm);
  EXPECT_THROW(cpu::enqueue(*other, "intruder", cpu::access({}, {slab}), [] {}), Error);
  comm->synchronize();
}

/// A rank that has failed must not sit out the deadline in a collective: it has to end the job.
TEST(CpuStreams, ARankThatFailedItselfDoesNotWaitForOthers) {
  const int rank = test::session().rank(), size = test::session().size();
  const auto place = test::make_place();
  MpiOptions options;
  options.timeout_seconds = 100.0;
  const auto c = place->join(MpiComm::duplicate(test::session().world()), "shard", options);
  const auto start = std::chrono::steady_clock::now();
  if (rank != size - 1 || size == 1) {
    cpu::Device threads;
    const auto comm = threads.stream("comm", StreamKind::communication);
    const auto compute = threads.stream("compute", StreamKind::compute);
    c->barrier({"never comes", 0}, *comm);
    cpu::enqueue(*compute, "fails", {}, [] { throw numerical_error("the loss is not a number"); });
    EXPECT_THROW(compute->synchronize(), Error);
    EXPECT_THROW(comm->synchronize(), Error);
  }
  MPI_CHECK(MPI_Barrier(test::session().world()));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(50));
}

}  // namespace
}  // namespace sherd
