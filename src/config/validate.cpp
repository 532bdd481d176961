#include "sherd/config/validate.hpp"

#include <charconv>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/config/fields.hpp"

namespace sherd {
namespace {

void check_shard_size(const TrainConfig& c, std::int64_t world_size) {
  if (c.shard_size == 0) return;
  if (c.sharding != "hybrid") {
    throw usage_error("shard-size is {} with sharding {}; it is of sharding hybrid, so leave it out or choose hybrid",
                      c.shard_size, c.sharding);
  }
  if (world_size % c.shard_size != 0) {
    throw usage_error("shard-size is {}, and {} ranks are no multiple of it; choose a divisor of {}", c.shard_size,
                      world_size, world_size);
  }
}

// The multiples of `unit` around `total`.
std::string nearest_multiples(std::int64_t total, std::int64_t unit) {
  const std::int64_t below = total / unit * unit;
  return below == 0 ? fmt::format("{}", unit) : fmt::format("{} or {}", below, below + unit);
}

void settle_batch(TrainConfig& c, std::int64_t world_size) {
  const std::int64_t per_micro_batch = checked_mul(c.batch_size_per_device, world_size);
  const std::int64_t total = c.total_batch_size;
  std::int64_t& steps = c.gradient_accumulation_steps;
  if (total == 0) {
    steps = std::max<std::int64_t>(steps, 1);
  } else if (total % per_micro_batch != 0) {
    throw usage_error(
        "total-batch-size is {}, no multiple of batch-size-per-device {} x {} ranks = {}; the nearest that fit: {}",
        total, c.batch_size_per_device, world_size, per_micro_batch, nearest_multiples(total, per_micro_batch));
  } else if (steps == 0) {
    steps = total / per_micro_batch;
  } else if (total != checked_mul(per_micro_batch, steps)) {
    throw usage_error(
        "total-batch-size is {}, but batch-size-per-device {} x {} ranks x gradient-accumulation-steps {} = {}; leave "
        "one "
        "of them out, or set gradient-accumulation-steps to {}",
        total, c.batch_size_per_device, world_size, steps, per_micro_batch * steps, total / per_micro_batch);
  }
  c.total_batch_size = checked_mul(per_micro_batch, steps);
}

/// After settle_batch.
void check_memory_modes(const TrainConfig& c, std::int64_t world_size) {
  if (c.master_weights == "split" && c.dtype != "bf16")
    throw usage_error("--master-weights split needs --dtype bf16: it keeps what bf16 weights lack of fp32 ones");
  if (c.gradients_dtype == "bf16" && c.dtype != "bf16")
    throw usage_error("--gradients-dtype bf16 needs --dtype bf16: gradients computed in fp32 are kept in fp32");
  if (c.gradients_dtype == "bf16" && world_size > 1) {
    throw usage_error(
        "--gradients-dtype bf16 is for one rank, and there are {}: their sums are kept in fp32, and with --sharding "
        "full each keeps 1/{} of them; --reduce-dtype bf16 makes them travel in bf16",
        world_size, world_size);
  }
  if (!c.optimizer_in_backward) return;
  if (c.gradient_accumulation_steps > 1) {
    throw usage_error(
        "--optimizer-in-backward updates with each micro-batch's gradients, and this step has {} of them; leave it "
        "out, or take --gradient-accumulation-steps 1 with a --total-batch-size of {}",
        c.gradient_accumulation_steps, c.batch_size_per_device * world_size);
  }
  if (c.max_grad_norm > 0) {
    throw usage_error(
        "--optimizer-in-backward updates before the norm of all gradients is known, and --max-grad-norm is {}; leave "
        "it out, or take --max-grad-norm 0",
        c.max_grad_norm);
  }
}

}  // namespace

ActivationCheckpointing parse_activation_checkpointing(std::string_view text) {
  using Mode = ActivationCheckpointing::Mode;
  if (text == "none") return {Mode::none};
  if (text == "selective") return {Mode::selective};
  if (text == "block") return {Mode::block};
  if (constexpr std::string_view every = "every-"; text.starts_with(every)) {
    const std::string_view digits = text.substr(every.size());
    std::int64_t k = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), k);
    if (error == std::errc() && end == digits.data() + digits.size() && k >= 1 && k <= 1000) return {Mode::every, k};
  }
  throw usage_error(
      "activation-checkpointing is \"{}\"; none, selective, block or every-K (K from 1 to 1000) is expected", text);
}

void validate(TrainConfig& c, std::int64_t world_size) {
  SHERD_CHECK(world_size >= 1, "world size {}", world_size);
  Fields fields = fields_of(c);
  for (Field& field : fields) field.required = false;  // which ones a command needs is its own affair
  check_fields(fields);
  parse_activation_checkpointing(c.activation_checkpointing);
  if (c.reduce_dtype == "bf16" && c.dtype != "bf16") {
    throw usage_error("--reduce-dtype bf16 needs --dtype bf16: gradients computed in fp32 travel in fp32");
  }
  check_shard_size(c, world_size);
  settle_batch(c, world_size);
  check_memory_modes(c, world_size);
}

void validate(PlanConfig& c) {
  if (c.ranks < 1 || c.nodes < 1 || c.ranks % c.nodes != 0) {
    throw usage_error("ranks is {} and nodes is {}; ranks must be a multiple of nodes", c.ranks, c.nodes);
  }
  validate(c.train, c.ranks);
}

}  // namespace sherd
