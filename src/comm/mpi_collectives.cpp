// The collectives as pairwise exchanges: in turn k a rank sends to r + k and receives from r - k, so that every rank
// has one sender and one receiver per turn and none is flooded. Gathers land in place. Reductions land in staging,
// chunk by chunk, and are summed straight into the shard while the next chunks arrive.
#include <algorithm>
#include <cstring>

#include "mpi_exchange.hpp"
#include "shapes.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sum.hpp"

namespace sherd {
namespace {

/// Messages in flight each way, and landing buffers that the staging slab is cut into: enough to hide a network's
/// latency, small enough that a piece is summed while it is still in the cache.
constexpr std::int64_t kInFlight = 16;

std::span<std::byte> piece(Tensor t, std::int64_t first_byte, std::int64_t bytes) {
  return {t.data + first_byte, static_cast<std::size_t>(bytes)};
}

/// `total` bytes in pieces of at most `most`, and the turn and peer of transfer i when every peer gets all pieces.
struct Pieces {
  std::int64_t total, most;
  std::int64_t count() const { return div_up(total, most); }
  std::int64_t first(std::int64_t i) const { return i % count() * most; }
  std::int64_t bytes(std::int64_t i) const { return std::min(most, total - first(i)); }
  int turn(std::int64_t i) const { return narrow<int>(1 + i / count()); }
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MpiComm comm, std::string axis, Tensor staging, MpiOptions options)
      : exchange_(std::move(comm), std::move(axis), std::move(options)), staging_(staging) {
    SHERD_CHECK(staging && staging.contiguous() && staging.bytes() >= 65536, "staging of {}", staging.describe());
  }
  const std::string& axis() const override { return exchange_.axis(); }
  int rank() const override { return exchange_.rank(); }
  int size() const override { return exchange_.size(); }
  Traffic traffic() const override { return exchange_.traffic(); }

  void all_gather(Tensor shard, Tensor full, CommTag tag, Stream& s) override {
    check_all_gather(shard, full, size());
    cpu::enqueue(s, "all_gather", cpu::access({shard}, {full}), [this, shard, full, tag] {
      exchange_.begin(Collective::all_gather, tag, full.bytes());
      const Tensor own = part_of(full, rank(), size());
      if (own.data != shard.data) std::memcpy(own.data, shard.data, shard.bytes());
      gather_parts(full);
      exchange_.end();
    });
  }

  void reduce_scatter(Tensor full, Tensor shard, float beta, CommTag tag, Stream& s) override {
    check_reduce_scatter(full, shard, beta, rank(), size());
    cpu::enqueue(s, "reduce_scatter", cpu::access({full}, {shard, staging_}), [this, full, shard, beta, tag] {
      exchange_.begin(Collective::reduce_scatter, tag, full.bytes());
      sum_parts(full, shard, beta);
      exchange_.end();
    });
  }

  void all_reduce(Tensor inout, CommTag tag, Stream& s) override {
    check_all_reduce(inout, size());
    cpu::enqueue(s, "all_reduce", cpu::access({}, {inout, staging_}), [this, inout, tag] {
      exchange_.begin(Collective::all_reduce, tag, inout.bytes());
      if (inout.numel() <= kSmallAllReduce) {
        sum_everything(inout);
      } else {
        sum_parts(inout, part_of(inout, rank(), size()), 0.0f);
        gather_parts(inout);
      }
      exchange_.end();
    });
  }

  void broadcast(Tensor inout, int root, CommTag tag, Stream& s) override {
    check_broadcast(inout, root, size());
    const cpu::Access access = rank() == root ? cpu::access({inout}, {}) : cpu::access({}, {inout});
    cpu::enqueue(s, "broadcast", access, [this, inout, root, tag] {
      exchange_.begin(Collective::broadcast, tag, inout.bytes());
      spread(inout, root);
      exchange_.end();
    });
  }

  void barrier(CommTag tag, Stream& s) override {
    cpu::enqueue(s, "barrier", {}, [this, tag] {
      exchange_.begin(Collective::barrier, tag, 0);
      exchange_.run(
          size() - 1, size(),
          [this](std::int64_t i) {
            return Transfer{to(i + 1), {}, from(i + 1), {}};
          },
          [](std::int64_t) {});
      exchange_.end();
    });
  }

 private:
  int to(std::int64_t turn) const { return narrow<int>((rank() + turn) % size()); }
  int from(std::int64_t turn) const { return narrow<int>((rank() - turn + size()) % size()); }

  /// Every rank's part of `full` (P S) to all others.
  void gather_parts(Tensor full) {
    const std::int64_t part_bytes = narrow<std::int64_t>(full.bytes()) / size();
    const Pieces pieces{part_bytes, exchange_.message_bytes()};
    const auto transfer = [&](std::int64_t i) {
      const int target = to(pieces.turn(i)), source = from(pieces.turn(i));
      const std::int64_t first = pieces.first(i), bytes = pieces.bytes(i);
      return Transfer{target, piece(full, rank() * part_bytes + first, bytes), source,
                      piece(full, source * part_bytes + first, bytes)};
    };
    exchange_.run((size() - 1) * pieces.count(), kInFlight, transfer, [](std::int64_t) {});
  }

  /// shard (S) f32 = beta shard + part r of full (P S) over all ranks, in the order r, r - 1, r - 2, ...
  void sum_parts(Tensor full, Tensor shard, float beta) {
    const Tensor own = part_of(full, rank(), size());
    const std::int64_t element = narrow<std::int64_t>(size_of(full.dtype));
    const std::int64_t part_bytes = narrow<std::int64_t>(own.bytes());
    const std::int64_t landing = narrow<std::int64_t>(staging_.bytes()) / kInFlight;
    const Pieces pieces{part_bytes, std::min(landing, exchange_.message_bytes()) / 64 * 64};
    if (size() == 1) start_sum(shard.ptr<float>(), own.data, full.dtype, beta, shard.numel());
    const auto transfer = [&](std::int64_t i) {
      const int target = to(pieces.turn(i));
      const std::int64_t first = pieces.first(i), bytes = pieces.bytes(i);
      return Transfer{target, piece(full, target * part_bytes + first, bytes), from(pieces.turn(i)),
                      piece(staging_, i % kInFlight * landing, bytes)};
    };
    const auto landed = [&](std::int64_t i) {
      const std::int64_t first = pieces.first(i), n = pieces.bytes(i) / element;
      const std::byte* in = staging_.data + i % kInFlight * landing;
      float* sum = shard.ptr<float>() + first / element;
      if (pieces.turn(i) > 1)
        add_part(sum, in, full.dtype, n);
      else
        start_sum_with(sum, own.data + first, in, full.dtype, beta, n);
    };
    exchange_.run((size() - 1) * pieces.count(), kInFlight, transfer, landed);
  }

  /// inout (n <= kSmallAllReduce) summed in the order 0, 1, 2, ... by every rank for itself: the same bits everywhere.
  void sum_everything(Tensor inout) {
    const std::int64_t n = inout.numel(), bytes = narrow<std::int64_t>(inout.bytes());
    SHERD_CHECK(bytes * size() <= narrow<std::int64_t>(staging_.bytes()), "{} of staging for {} ranks",
                staging_.describe(), size());
    std::memcpy(staging_.data + rank() * bytes, inout.data, inout.bytes());
    const auto transfer = [&](std::int64_t i) {
      const int source = from(i + 1);
      return Transfer{to(i + 1), piece(staging_, rank() * bytes, bytes), source,
                      piece(staging_, source * bytes, bytes)};
    };
    exchange_.run(size() - 1, size(), transfer, [](std::int64_t) {});
    start_sum(inout.ptr<float>(), staging_.data, DType::f32, 0.0f, n);
    for (int r = 1; r < size(); ++r) add_part(inout.ptr<float>(), staging_.data + r * bytes, DType::f32, n);
  }

  /// The root's inout to all others, one after the other.
  void spread(Tensor inout, int root) {
    const Pieces pieces{narrow<std::int64_t>(inout.bytes()), exchange_.message_bytes()};
    const std::int64_t peers = rank() == root ? size() - 1 : 1;
    const auto transfer = [&](std::int64_t i) {
      const auto bytes = piece(inout, pieces.first(i), pieces.bytes(i));
      return rank() == root ? Transfer{to(pieces.turn(i)), bytes, -1, {}} : Transfer{-1, {}, root, bytes};
    };
    exchange_.run(size() == 1 ? 0 : peers * pieces.count(), kInFlight, transfer, [](std::int64_t) {});
  }

  MpiExchange exchange_;
  Tensor staging_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MpiComm comm, std::string axis, Tensor staging,
                                                    MpiOptions options) {
  return std::make_unique<MpiCommunicator>(std::move(comm), std::move(axis), staging, std::move(options));
}

}  // namespace sherd
