#pragma once
// ShardedModel: the parameters, gradients and optimizer state of a run, spread over the mesh (Rajbhandari et al., ZeRO,
// arXiv:1910.02054; Zhao et al., PyTorch FSDP, arXiv:2304.11277; Zhang et al., MiCS, arXiv:2205.00119).
//
// Every rank owns 1/F of each unit, F being the size of the shard axis, and F = 1 is plain data parallelism. Around its
// use a unit is gathered into a slot, so that unit i+1 travels while unit i computes; its gradients are
// reduce-scattered as soon as they are whole; with several replicas the shards are then all-reduced across them, once
// per step:
//
//   comm     gather(0) gather(1)     gather(2)  ...   reduce(L)   reduce(L-1)  ...
//   compute            unit 0        unit 1     ...        back(L-1)    back(L-2)  ...
//
// Five kinds of events are the whole synchronisation. Weights: a slot is read after `ready` (recorded on comm),
// refilled after `free` (on compute), and a shard is gathered after `stepped` (on compute). Gradients: they are reduced
// after `whole` (on compute), their slot is written again after `free` (on comm), and the optimizer starts after
// `reduced_` (on comm); where it runs inside backward, for one unit after that unit's `free`, one unit behind.
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sherd/comm/communicator.hpp"
#include "sherd/device/device.hpp"
#include "sherd/ops/ops.hpp"
#include "sherd/shard/layout.hpp"

namespace sherd {

/// Where a sharded model lives: borrowed for its lifetime.
struct ShardContext {
  Device& device;
  Ops& ops;
  Stream& compute;
  Stream& comm;             // all collectives, in one order on all ranks
  Communicator& shard;      // axis of size F
  Communicator& replicate;  // axis of size R; F R = world
};

struct ShardOptions {
  DType param_dtype = DType::f32;    // of gathered parameters; bf16 keeps an fp32 master beside
  DType reduce_dtype = DType::f32;   // of gradients on the wire
  int prefetch = 1;                  // units that travel ahead; slots per size class = prefetch + 1
  DType moments_dtype = DType::f32;  // of AdamW's m and v; bf16 and u8 (eight_bit.hpp) are rounded stochastically
  bool split_master = false;         // masters are `compute` and `rest` (split_master.hpp); parameters are bf16
  DType grad_dtype = DType::f32;     // of the gradients kept; bf16 only in a world of one rank
  /// A unit is updated as soon as its gradients are whole, and none are kept: one micro-batch a step, no clipping.
  bool optimizer_in_backward = false;
};

/// The persistent tensors of one unit's shard (S = U / F). `compute` is `master` itself when parameters are f32.
struct UnitState {
  Tensor master;   // (S) f32; null when split
  Tensor rest;     // (S) i16 when split, else null
  Tensor grad;     // (S) grad_dtype; null with optimizer_in_backward
  Tensor m, v;     // (S) moments_dtype
  Tensor scales;   // (ceil(S / 128), 2) f32 with moments in u8, else null
  Tensor compute;  // (S) param_dtype, what is gathered
};

/// How a unit's shard is updated.
struct Update {
  AdamWHyper hyper;
  AdamWScalars scalars;
  float decay = 0;
  bool decay_all = false;
  Tensor squares{};  // (1) f32: the sum of squared gradients, added up with optimizer_in_backward
};

class ShardedModel {
 public:
  ShardedModel(ShardContext context, const std::vector<UnitSpec>& units, ShardOptions options, Arena& persistent);

  int units() const { return static_cast<int>(units_.size()); }
  const UnitLayout& layout(int unit) const { return units_.at(static_cast<std::size_t>(unit)).layout; }
  const UnitState& state(int unit) const { return units_.at(static_cast<std::size_t>(unit)).state; }
  std::vector<ShardPiece> pieces(int unit) const { return shard_pieces(layout(unit), context_.shard.rank(), shards()); }
  std::int64_t shards() const { return context_.shard.size(); }

  /// Opens a step of `micro_batches`: its number names the collectives in the watchdog's messages. `update` is taken by
  /// update(), or on the way by reduce() with optimizer_in_backward, when its scalars must be there already.
  void begin_step(std::int64_t step, std::int64_t micro_batches, const Update& update);
  /// Opens the next micro-batch: the first overwrites gradients, the last also reduces across replicas.
  void begin_micro_batch();

  /// Enqueues the gather of `unit`, unless it is resident at its current version. Units that do not exist are ignored,
  /// so that callers write prefetch(i + 1) without a guard; so are units for which no slot is free.
  void prefetch(int unit);
  /// The units after `unit` on the way to `last`, as many as travel ahead, nearest first.
  void prefetch_after(int unit, int last);

  /// The full parameters of one unit; its slot is not refilled while the guard lives.
  class Weights {
   public:
    Tensor operator[](std::size_t param) const { return views_.at(param); }
    std::span<const Tensor> all() const { return views_; }
    ~Weights();
    Weights(const Weights&) = delete;
    Weights& operator=(const Weights&) = delete;

   private:
    friend class ShardedModel;
    Weights(ShardedModel& model, int unit, int slot, std::vector<Tensor> views);
    ShardedModel& model_;
    int slot_;  // -1: the shard itself is the whole (F = 1)
    std::vector<Tensor> views_;
  };
  [[nodiscard]] Weights use(int unit);

  /// Where the gradients of one unit go, on the compute stream, before reduce(unit). The first writer of each gradient
  /// in a micro-batch uses `beta`: 0 overwrites, 1 adds to the micro-batches before.
  struct Grads {
    std::vector<Tensor> all;
    float beta = 0;
  };
  Grads grads(int unit);
  /// Enqueues the reduction of what grads(unit) handed out.
  void reduce(int unit);

  /// Makes the compute stream wait for all reductions: once, before the norm and the optimizer.
  void finish_backward();
  /// The step's squares (1) f32 = the global sum of squared gradients: each logical element once.
  void gradient_squares();
  /// AdamW on the own shards, in forward order, unless backward has done it; each unit's next gather may start as soon
  /// as it is done.
  void update();

  /// After the masters were written (initialisation, loading): rounds them to what is gathered, unless they are split.
  void masters_changed();

 private:
  struct Slot {
    Tensor full;   // (U), of the class's size
    Tensor shard;  // (S) f32, of gradients with optimizer_in_backward where F > 1: what `full` is reduced to
    std::unique_ptr<Event> ready, free;
    int unit = -1;
    std::int64_t version = -1, last_use = 0;
    bool in_use = false;
  };
  struct Unit {
    UnitLayout layout;
    UnitState state;
    std::vector<int> weight_slots, grad_slots;  // of its size class
    std::unique_ptr<Event> stepped;             // on compute: the shard has its new values
    std::unique_ptr<Event> whole;               // on compute: backward has written all gradients
    std::int64_t version = 0;
    std::string gather_tag, reduce_tag;
  };

  void take_states(const std::vector<UnitSpec>& specs, Arena& persistent);
  void take_slots(Arena& persistent);
  int find_resident(const Unit& unit, int index) const;
  int pick_free(const std::vector<int>& candidates, const std::deque<Slot>& slots) const;
  bool has_peers() const { return shards() > 1 || context_.replicate.size() > 1; }
  int slots_of_gradients() const;
  int slot_with_gradients_of(int unit) const;
  void reduce_and_keep(Unit& unit, int slot, bool across_replicas);
  void reduce_and_update(Unit& unit, int slot, bool across_replicas);
  void update_reduced();
  void update_unit(int index, Tensor grad);
  void changed(Unit& unit);

  ShardContext context_;
  ShardOptions options_;
  std::vector<Unit> units_;
  std::deque<Slot> weight_slots_, grad_slots_;
  std::unique_ptr<Event> reduced_, squares_ready_, squares_done_;
  Update update_;
  int reduced_slot_ = -1;  // with optimizer_in_backward, F > 1: the slot whose unit is to be updated next
  std::int64_t step_ = 0, micro_batches_ = 1, micro_batch_ = -1, clock_ = 0;
};

}  // namespace sherd
