// A collective in three steps on the caller's stream: device -> host, the host's communicator on a thread of CUDA's,
// host -> device. A tensor of P parts, seen as (P, S), goes in runs of columns that fit the host memory: a run (P, n)
// is itself a tensor of P parts, and element i of part r stays an element of part r, so the order of its sum is the one
// that Communicator states for the whole.
#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "shapes.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/comm/staged.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {
namespace {

/// Runs of about equal length, so that none is short: a short all_reduce would be summed in another order.
struct Run {
  std::int64_t first, count;  // of the columns
};
std::vector<Run> runs(std::int64_t columns, std::int64_t most) {
  SHERD_CHECK(most > 0, "a column does not fit the staging");
  const std::int64_t n = std::max<std::int64_t>(1, div_up(columns, most));
  std::vector<Run> all;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t first = columns * i / n;
    all.push_back({first, columns * (i + 1) / n - first});
  }
  return all;
}

/// The host memory, and a CPU stream on which the host's communicators do their work at once, in the thread that calls.
class PinnedStaging final : public HostStaging {
 public:
  using HostWork = std::function<void(sherd::Stream& host)>;

  explicit PinnedStaging(std::int64_t bytes)
      : memory_(narrow<std::size_t>(bytes)),
        host_({.schedule = cpu::Schedule::in_order, .threads = cpu::threads(), .interrupted = &cuda::interrupted}),
        stream_(host_.stream("host", StreamKind::communication)),
        landing_memory_(host_.arena("landing buffers", kStagingBytes)),
        landing_(landing_memory_.take(DType::f32, {kStagingBytes / 4})) {
    SHERD_CHECK(bytes >= 65536, "host staging of {} bytes", bytes);
  }
  std::unique_ptr<Communicator> over_mpi(MpiComm comm, std::string axis, MpiOptions options) override;
  std::unique_ptr<Communicator> alone(std::string axis) override;

  std::int64_t bytes() const { return narrow<std::int64_t>(memory_.bytes()); }
  Tensor tensor(std::int64_t first_byte, DType dtype, std::int64_t count) const {
    return Tensor::make(memory_.data() + first_byte, dtype, {count});
  }
  /// `work` runs when `s` comes to it; what it throws is thrown by s.synchronize().
  void run(sherd::Stream& s, const char* op, HostWork work) {
    enqueue_host(s, op, [this, work = std::move(work)] {
      work(*stream_);
      stream_->synchronize();  // throws what the work threw
    });
  }

 private:
  PinnedMemory memory_;
  cpu::Device host_;
  std::unique_ptr<sherd::Stream> stream_;
  Arena landing_memory_;
  Tensor landing_;  // for reductions over MPI, shared by the axes
};

void copy(Tensor from, Tensor to, cudaMemcpyKind kind, sherd::Stream& s) {
  if (to.bytes() == 0) return;
  will_run(s);
  CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, to.bytes(), kind, native(s)));
  ran(s, kind == cudaMemcpyDeviceToHost ? "copy to the host" : "copy to the device");
}

class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(PinnedStaging& staging, std::unique_ptr<Communicator> host)
      : staging_(staging), host_(std::move(host)) {}
  const std::string& axis() const override { return host_->axis(); }
  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }

  void all_gather(Tensor shard, Tensor full, CommTag tag, sherd::Stream& s) override {
    check_all_gather(shard, full, size());
    count(Collective::all_gather);
    for (const Run run : runs(shard.numel(), staging_.bytes() / (size() * bytes_of(full)))) {
      const Tensor all = staging_.tensor(0, full.dtype, size() * run.count), own = part_of(all, rank(), size());
      copy(shard.flat(run.first, run.count), own, cudaMemcpyDeviceToHost, s);
      staging_.run(s, "all_gather", [=, this](sherd::Stream& host) { host_->all_gather(own, all, tag, host); });
      to_device(all, full, size(), run, s);
    }
  }

  void reduce_scatter(Tensor full, Tensor shard, float beta, CommTag tag, sherd::Stream& s) override {
    check_reduce_scatter(full, shard, beta, rank(), size());
    count(Collective::reduce_scatter);
    constexpr std::int64_t kSumBytes = sizeof(float);
    for (const Run run : runs(shard.numel(), staging_.bytes() / (kSumBytes + size() * bytes_of(full)))) {
      const Tensor sum = staging_.tensor(0, DType::f32, run.count);
      const Tensor all = staging_.tensor(run.count * kSumBytes, full.dtype, size() * run.count);
      const Tensor part = shard.flat(run.first, run.count);
      to_host(full, all, size(), run, s);
      if (beta != 0.0f) copy(part, sum, cudaMemcpyDeviceToHost, s);
      staging_.run(s, "reduce_scatter",
                   [=, this](sherd::Stream& host) { host_->reduce_scatter(all, sum, beta, tag, host); });
      copy(sum, part, cudaMemcpyHostToDevice, s);
    }
  }

  void all_reduce(Tensor inout, CommTag tag, sherd::Stream& s) override {
    check_all_reduce(inout, size());
    count(Collective::all_reduce);
    const std::int64_t parts = inout.numel() <= kSmallAllReduce ? 1 : size();
    for (const Run run : runs(inout.numel() / parts, staging_.bytes() / (parts * bytes_of(inout)))) {
      const Tensor all = staging_.tensor(0, DType::f32, parts * run.count);
      SHERD_CHECK(parts == 1 || all.numel() > kSmallAllReduce, "a run of {} of {}", all.describe(), inout.describe());
      to_host(inout, all, parts, run, s);
      staging_.run(s, "all_reduce", [=, this](sherd::Stream& host) { host_->all_reduce(all, tag, host); });
      to_device(all, inout, parts, run, s);
    }
  }

  void broadcast(Tensor inout, int root, CommTag tag, sherd::Stream& s) override {
    check_broadcast(inout, root, size());
    count(Collective::broadcast);
    for (const Run run : runs(inout.numel(), staging_.bytes() / bytes_of(inout))) {
      const Tensor all = staging_.tensor(0, inout.dtype, run.count);
      if (rank() == root) to_host(inout, all, 1, run, s);
      staging_.run(s, "broadcast", [=, this](sherd::Stream& host) { host_->broadcast(all, root, tag, host); });
      if (rank() != root) to_device(all, inout, 1, run, s);
    }
  }

  void barrier(CommTag tag, sherd::Stream& s) override {
    count(Collective::barrier);
    staging_.run(s, "barrier", [=, this](sherd::Stream& host) { host_->barrier(tag, host); });
  }

  /// The runs of one tensor are one call. An axis of one rank sends nothing, and only counts on the host's thread.
  Traffic traffic() const override {
    Traffic t = size() == 1 ? Traffic{} : host_->traffic();
    for (std::size_t c = 0; c < t.row.size(); ++c) t.row[c].calls = calls_[c];
    return t;
  }

 private:
  static std::int64_t bytes_of(Tensor t) { return narrow<std::int64_t>(size_of(t.dtype)); }
  void count(Collective c) { ++calls_[static_cast<std::size_t>(c)]; }

  /// Columns of part `r` of a device tensor (parts, S), and the same of a run (parts, n) on the host.
  static Tensor columns(Tensor device, std::int64_t parts, std::int64_t r, Run run) {
    return device.flat(r * (device.numel() / parts) + run.first, run.count);
  }
  static void to_host(Tensor device, Tensor host, std::int64_t parts, Run run, sherd::Stream& s) {
    for (std::int64_t r = 0; r < parts; ++r)
      copy(columns(device, parts, r, run), host.flat(r * run.count, run.count), cudaMemcpyDeviceToHost, s);
  }
  static void to_device(Tensor host, Tensor device, std::int64_t parts, Run run, sherd::Stream& s) {
    for (std::int64_t r = 0; r < parts; ++r)
      copy(host.flat(r * run.count, run.count), columns(device, parts, r, run), cudaMemcpyHostToDevice, s);
  }

  PinnedStaging& staging_;
  std::unique_ptr<Communicator> host_;
  std::array<std::int64_t, kCollectives> calls_{};  // by the thread that enqueues, as traffic() is asked there
};

std::unique_ptr<Communicator> PinnedStaging::over_mpi(MpiComm comm, std::string axis, MpiOptions options) {
  return std::make_unique<StagedCommunicator>(
      *this, make_mpi_communicator(std::move(comm), std::move(axis), landing_, std::move(options)));
}

std::unique_ptr<Communicator> PinnedStaging::alone(std::string axis) {
  return std::make_unique<StagedCommunicator>(*this, make_self_communicator(std::move(axis)));
}

}  // namespace
}  // namespace sherd::cuda

namespace sherd {

std::unique_ptr<HostStaging> make_host_staging(std::int64_t bytes) {
  return std::make_unique<cuda::PinnedStaging>(bytes);
}

}  // namespace sherd
