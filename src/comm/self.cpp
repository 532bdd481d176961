// The axis of one rank: what a collective means when there is nobody else. Nothing is sent.
#include <cstring>

#include "shapes.hpp"
#include "sherd/comm/communicator.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sum.hpp"

namespace sherd {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::string axis) : axis_(std::move(axis)) {}
  const std::string& axis() const override { return axis_; }
  int rank() const override { return 0; }
  int size() const override { return 1; }

  void all_gather(Tensor shard, Tensor full, CommTag, Stream& s) override {
    check_all_gather(shard, full, 1);
    count(Collective::all_gather);
    if (shard.data == full.data) return;
    cpu::enqueue(s, "all_gather (self)", cpu::access({shard}, {full}),
                 [shard, full] { std::memcpy(full.data, shard.data, full.bytes()); });
  }

  void reduce_scatter(Tensor full, Tensor shard, float beta, CommTag, Stream& s) override {
    check_reduce_scatter(full, shard, beta, 0, 1);
    count(Collective::reduce_scatter);
    if (shard.data == full.data) return;
    cpu::enqueue(s, "reduce_scatter (self)", cpu::access({full}, {shard}),
                 [full, shard, beta] { start_sum(shard.ptr<float>(), full.data, full.dtype, beta, shard.numel()); });
  }

  void all_reduce(Tensor inout, CommTag, Stream&) override {
    check_all_reduce(inout, 1);
    count(Collective::all_reduce);
  }
  void broadcast(Tensor inout, int root, CommTag, Stream&) override {
    check_broadcast(inout, root, 1);
    count(Collective::broadcast);
  }
  void barrier(CommTag, Stream&) override { count(Collective::barrier); }

  Traffic traffic() const override { return traffic_; }

 private:
  void count(Collective c) { ++traffic_.row[static_cast<std::size_t>(c)].calls; }

  std::string axis_;
  Traffic traffic_;
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator(std::string axis) {
  return std::make_unique<SelfCommunicator>(std::move(axis));
}

}  // namespace sherd
