// collectives_bench [MiB]: our collectives beside MPI's own, on tensors of so many MiB in all (64). Run it under
// tools/mpirun.sh or srun. Median of 5 after one unmeasured run, of the slowest rank.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "sherd/comm/mpi.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

constexpr int kRuns = 5;

/// Milliseconds of the slowest rank, median over the runs.
double median_ms(const MpiSession& mpi, const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i <= kRuns; ++i) {
    MPI_CHECK(MPI_Barrier(mpi.world()));
    const auto start = std::chrono::steady_clock::now();
    run();
    double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, &ms, 1, MPI_DOUBLE, MPI_MAX, mpi.world()));
    if (i > 0) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[kRuns / 2];
}

void row(const MpiSession& mpi, const char* name, double ours, double theirs) {
  if (mpi.rank() != 0) return;
  if (theirs > 0)
    std::printf("%-22s %10.1f %10.1f %10.2f\n", name, ours, theirs, theirs / ours);
  else
    std::printf("%-22s %10.1f %10s %10s\n", name, ours, "-", "-");
}

void bench(const MpiSession& mpi, std::int64_t mib) {
  cpu::Device device;
  const auto stream = device.stream("comm", StreamKind::communication);
  const std::int64_t part = (mib << 20) / 4 / mpi.size() / 128 * 128, whole = part * mpi.size();
  Arena arena = device.arena("bench", static_cast<std::size_t>(whole * 6 + part * 4 + kStagingBytes + 4096));
  const Tensor full = arena.take(DType::f32, {whole}), wire = arena.take(DType::bf16, {whole});
  const Tensor shard = arena.take(DType::f32, {part}), staging = arena.take(DType::f32, {kStagingBytes / 4});
  const auto comm = make_mpi_communicator(MpiComm::duplicate(mpi.world()), "world", staging, {});
  const int n = static_cast<int>(part);
  const auto timed = [&](const std::function<void()>& enqueue) {
    return median_ms(mpi, [&] {
      enqueue();
      stream->synchronize();
    });
  };
  if (mpi.rank() == 0) {
    std::printf("%d ranks, %ld MiB in all, ms\n%-22s %10s %10s %10s\n", mpi.size(), static_cast<long>(mib), "", "ours",
                "MPI's", "ratio");
  }
  row(mpi, "all_gather f32", timed([&] { comm->all_gather(shard, full, {"bench"}, *stream); }), median_ms(mpi, [&] {
        MPI_CHECK(MPI_Allgather(shard.data, n, MPI_FLOAT, full.data, n, MPI_FLOAT, mpi.world()));
      }));
  row(mpi, "reduce_scatter f32", timed([&] { comm->reduce_scatter(full, shard, 0.0f, {"bench"}, *stream); }),
      median_ms(mpi, [&] {
        MPI_CHECK(MPI_Reduce_scatter_block(full.data, shard.data, n, MPI_FLOAT, MPI_SUM, mpi.world()));
      }));
  row(mpi, "reduce_scatter bf16", timed([&] { comm->reduce_scatter(wire, shard, 0.0f, {"bench"}, *stream); }), 0);
  row(mpi, "all_reduce f32", timed([&] { comm->all_reduce(full, {"bench"}, *stream); }), median_ms(mpi, [&] {
        MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, full.data, n * mpi.size(), MPI_FLOAT, MPI_SUM, mpi.world()));
      }));
  row(mpi, "barrier", timed([&] { comm->barrier({"bench"}, *stream); }),
      median_ms(mpi, [&] { MPI_CHECK(MPI_Barrier(mpi.world())); }));
}

}  // namespace
}  // namespace sherd

int main(int argc, char** argv) {
  const sherd::MpiSession mpi;
  sherd::bench(mpi, argc > 1 ? std::atol(argv[1]) : 64);
  return 0;
}
