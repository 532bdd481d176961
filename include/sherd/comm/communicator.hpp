#pragma once
// Communicator: collectives over one mesh axis, enqueued on a stream. Sums only: averaging is the caller's scale.
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd {

enum class Collective : int { all_gather, reduce_scatter, all_reduce, broadcast, barrier };
constexpr int kCollectives = 5;
std::string_view name_of(Collective c);

/// Calls and bytes this rank has handed to the transport to send, per collective (counted where they are handed over).
/// A mirror of MPI and NCCL, not of the wire: their own headers and retransmissions are not in it.
struct Traffic {
  struct Row {
    std::int64_t calls = 0, bytes_sent = 0;
  };
  std::array<Row, kCollectives> row{};
  std::int64_t bytes_sent() const;
  Traffic operator-(const Traffic& earlier) const;
};

/// What a collective works for: named by the watchdog and the flight recorder. `what` is a string literal or outlives
/// the communicator.
struct CommTag {
  const char* what = "";  // "gather model.layers.3"
  std::int64_t step = 0;
};

/// The buffers must stay untouched until an event recorded after the call has passed. All ranks of the axis issue the
/// same calls in the same order; a communicator belongs to one stream. Counts above INT_MAX are chunked.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual const std::string& axis() const = 0;  // "shard", "replicate", "world"
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// shard (S) of every rank -> full (P S), in rank order. Any dtype. `shard` may be this rank's part of `full`.
  /// Sends (P - 1) S elements.
  virtual void all_gather(Tensor shard, Tensor full, CommTag tag, Stream& s) = 0;
  /// full (P S) f32 or bf16 -> shard (S) f32: rank r gets the sum over ranks of part r, summed once in fp32 in an order
  /// fixed by the ranks (a pairwise exchange): ((beta shard + part of r) + part of r - 1) + part of r - 2 ..., modulo
  /// P. beta 0 or 1. With beta 0 and f32 `shard` may be this rank's part of `full`. Sends (P - 1) S elements.
  virtual void reduce_scatter(Tensor full, Tensor shard, float beta, CommTag tag, Stream& s) = 0;
  /// inout (n) f32 = sum over ranks, the same bits on all of them. n > 1024 must be a multiple of P: reduce-scatter and
  /// all-gather, sends 2 (P - 1) n / P elements. Smaller ones: an exchange of everything, sends (P - 1) n.
  virtual void all_reduce(Tensor inout, CommTag tag, Stream& s) = 0;
  /// Any dtype. The root sends (P - 1) n elements, the others nothing.
  virtual void broadcast(Tensor inout, int root, CommTag tag, Stream& s) = 0;
  /// Passes when all ranks have come. Sends messages of 0 bytes.
  virtual void barrier(CommTag tag, Stream& s) = 0;

  virtual Traffic traffic() const = 0;  // of the work done so far: exact after a synchronize() of the stream
};

/// An axis of one rank: gathers and reductions become copies, or nothing when source and destination are one.
std::unique_ptr<Communicator> make_self_communicator(std::string axis);

/// Counts what would be sent, and sends nothing: the plan's axis of any size.
std::unique_ptr<Communicator> make_recording_communicator(std::string axis, int rank, int size);

}  // namespace sherd
