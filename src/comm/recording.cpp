// The plan's axis: counts by formula what mpi_exchange.cpp counts message by message. A test holds the two together.
#include "shapes.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/comm/communicator.hpp"

namespace sherd {
namespace {

class RecordingCommunicator final : public Communicator {
 public:
  RecordingCommunicator(std::string axis, int rank, int size) : axis_(std::move(axis)), rank_(rank), size_(size) {
    SHERD_CHECK(size >= 1 && rank >= 0 && rank < size, "rank {} of {} on axis {}", rank, size, axis_);
  }
  const std::string& axis() const override { return axis_; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_gather(Tensor shard, Tensor full, CommTag, Stream&) override {
    check_all_gather(shard, full, size_);
    count(Collective::all_gather, to_peers(shard));
  }
  void reduce_scatter(Tensor full, Tensor shard, float beta, CommTag, Stream&) override {
    check_reduce_scatter(full, shard, beta, rank_, size_);
    count(Collective::reduce_scatter, to_peers(part_of(full, rank_, size_)));
  }
  void all_reduce(Tensor inout, CommTag, Stream&) override {
    check_all_reduce(inout, size_);
    const bool small = inout.numel() <= kSmallAllReduce;
    count(Collective::all_reduce, small ? to_peers(inout) : 2 * to_peers(part_of(inout, rank_, size_)));
  }
  void broadcast(Tensor inout, int root, CommTag, Stream&) override {
    check_broadcast(inout, root, size_);
    count(Collective::broadcast, rank_ == root ? to_peers(inout) : 0);
  }
  void barrier(CommTag, Stream&) override { count(Collective::barrier, 0); }

  Traffic traffic() const override { return traffic_; }

 private:
  std::int64_t to_peers(Tensor t) const { return (size_ - 1) * narrow<std::int64_t>(t.bytes()); }
  void count(Collective c, std::int64_t bytes) {
    Traffic::Row& row = traffic_.row[static_cast<std::size_t>(c)];
    ++row.calls;
    row.bytes_sent += bytes;
  }

  std::string axis_;
  int rank_, size_;
  Traffic traffic_;
};

}  // namespace

std::unique_ptr<Communicator> make_recording_communicator(std::string axis, int rank, int size) {
  return std::make_unique<RecordingCommunicator>(std::move(axis), rank, size);
}

}  // namespace sherd
