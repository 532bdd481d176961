#include "training_run.hpp"

#include "../mpi/session.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/ops/backend.hpp"
#include "sherd/ops/rounding.hpp"

namespace sherd::test {

ModelConfig small_llama(const RunSpec& spec) {
  ModelConfig c;
  c.vocab_size = 131;
  c.hidden_size = 27;
  c.layers = spec.layers;
  c.heads = 3;
  c.kv_heads = 1;
  c.head_dim = 10;
  c.intermediate_size = 37;
  c.max_position = 64;
  if (spec.aligned) {
    c.hidden_size = 64;
    c.heads = 2;
    c.head_dim = 32;
    c.intermediate_size = 128;
  }
  c.tied_embeddings = spec.tied;
  c.initializer_range = 0.2f;
  return c;
}

namespace {

/// Sequence g of a step: documents of 1 to 9 tokens, packed.
void fill_sequence(HostBatch& batch, std::int64_t row, std::int64_t step, std::int64_t g, std::int64_t vocab) {
  const Random random(7, Purpose::test, static_cast<std::uint64_t>(step * 1000 + g));
  std::int64_t start = 0, left = 0;
  for (std::int64_t t = 0; t < batch.length; ++t) {
    if (left == 0) {
      start = t;
      left = 1 + static_cast<std::int64_t>(random.bits(static_cast<std::uint64_t>(t)) % 9);
    }
    --left;
    const auto at = static_cast<std::size_t>(row * batch.length + t);
    const auto token = [&](std::int64_t i) {  // a skewed distribution, so that there is something to learn
      const double u = random.uniform(static_cast<std::uint64_t>(1000 + i));
      return static_cast<std::int32_t>(u * u * static_cast<double>(vocab));
    };
    batch.tokens[at] = token(t);
    batch.doc_start[at] = narrow<std::int32_t>(start);
    const bool target = left > 0 && t + 1 < batch.length;
    batch.targets[at] = target ? token(t + 1) : -1;
    batch.valid += target ? 1 : 0;
  }
}

std::vector<HostBatch> batches_of(const RunSpec& spec, std::int64_t step, int rank, int world, std::int64_t vocab) {
  const std::int64_t accumulation = div_exact(spec.global_batch, spec.batch * world);
  std::vector<HostBatch> batches;
  for (std::int64_t micro = 0; micro < accumulation; ++micro) {
    HostBatch& b = batches.emplace_back(spec.batch, spec.length);
    for (std::int64_t row = 0; row < spec.batch; ++row) {
      fill_sequence(b, row, step, (micro * world + rank) * spec.batch + row, vocab);
    }
  }
  return batches;
}

NodeMap nodes_of(const RunSpec& spec) {
  if (spec.alone) return NodeMap::even(1, 1);
  std::vector<int> key;
  std::vector<std::string> host;
  for (int rank = 0; rank < session().size(); ++rank) {
    key.push_back(rank % spec.nodes);
    host.push_back("node" + std::to_string(key.back()));
  }
  return NodeMap::from_keys(key, host);
}

std::uint64_t hash_state(Rig& rig) {
  ShardedModel& model = rig.model();
  std::uint64_t hash = 0;
  for (int u = 0; u < model.units(); ++u) {
    for (const Tensor& t : {model.state(u).master, model.state(u).rest, model.state(u).compute, model.state(u).m,
                            model.state(u).v, model.state(u).scales}) {
      if (!t) continue;
      std::string bytes(t.bytes(), 0);
      rig.ops().download(t, std::as_writable_bytes(std::span(bytes)), rig.compute());
      rig.compute().synchronize();
      hash = hash * 31 + stable_hash(bytes);
    }
  }
  return hash;
}

double learning_rate(const RunSpec& spec, std::int64_t step) {
  return spec.rate_falls ? 0.01 * (1 - static_cast<double>(step) / static_cast<double>(spec.steps)) : 0.01;
}

std::unique_ptr<Device> make_device(const RunSpec& spec, const cpu::WaitSite* ignored) {
  if (spec.backend == "cuda") return cuda::make_device(spec.alone ? 0 : session().rank(), {spec.debug});
  auto device = std::make_unique<cpu::Device>(spec.device);
  if (ignored != nullptr) device->ignore_waits_at(*ignored);
  return device;
}

}  // namespace

TestRig::TestRig(const RunSpec& spec, const cpu::WaitSite* ignored) : config_(small_llama(spec)) {
  const NodeMap nodes = nodes_of(spec);
  const MeshOptions mesh_options{spec.strategy, spec.shard_size, 20, "", spec.backend};
  const Backend& backend = backend_of(spec.backend);
  RigOptions options;
  options.shard = {spec.dtype, spec.reduce_dtype, 1};
  options.step.batch = spec.batch;
  options.step.length = spec.length;
  options.step.accumulation = div_exact(spec.global_batch, spec.batch * nodes.ranks());
  options.step.act = spec.dtype;
  options.step.fp8 = spec.fp8;
  options.step.recompute = spec.recompute;
  options.shard.prefetch = spec.prefetch;
  options.shard.moments_dtype = spec.moments_dtype;
  options.shard.split_master = spec.split_master;
  options.shard.grad_dtype = spec.grad_dtype;
  options.shard.optimizer_in_backward = spec.optimizer_in_backward;
  options.step.record = spec.record;
  options.step.loss_chunk = 7;
  options.backend = &backend;
  options.step.max_grad_norm = spec.max_grad_norm;

  const auto planned = [&](Arena& persistent) { return Mesh::planned(nodes, mesh_options, persistent); };
  plan_ = plan_training(config_, options, planned);
  device_ = make_device(spec, ignored);
  const auto make_mesh = [&](Arena& persistent) {
    return spec.alone ? planned(persistent) : Mesh::make(session(), nodes, mesh_options, persistent);
  };
  rig_ = std::make_unique<Rig>(*device_, Rig::Makers{make_mesh, backend.make_ops}, config_, options,
                               plan_.allocate(*device_));
}

void TestRig::update_by_given_gradients() const {
  Arena arena = device_->arena("test", 4096);
  rig_->initialize(42);
  for (int u = 0; u < rig_->model().units(); ++u)
    for (const ShardPiece& p : rig_->model().pieces(u)) {
      const Random random(5, Purpose::test, stable_hash(p.spec->name));
      std::vector<float> grad;
      for (std::int64_t i = 0; i < p.count; ++i) grad.push_back(random.normal(static_cast<std::uint64_t>(p.first + i)));
      rig_->ops().upload(std::as_bytes(std::span(grad)), rig_->model().state(u).grad.flat(p.offset, p.count),
                         rig_->compute());
      rig_->compute().synchronize();
    }
  const Tensor one = arena.take(DType::f32, {1}), key = arena.take(DType::i32, {2});
  rig_->ops().fill(one, 1, rig_->compute());
  for (std::uint64_t step = 0; step < 3; ++step) {
    const std::array<std::uint32_t, 2> host_key = rounding_key(42, step);
    rig_->ops().upload(std::as_bytes(std::span(host_key)), key, rig_->compute());
    rig_->model().begin_step(static_cast<std::int64_t>(step), 1, {{}, {one, one, one, one, key}, 0.01f, false});
    rig_->model().update();
    rig_->synchronize();
  }
}

namespace {

std::vector<HostBatch> batches_of(const RunSpec& spec, std::int64_t step, Rig& rig) {
  return batches_of(spec, spec.repeat > 0 && step < spec.steps ? step % spec.repeat : step, rig.mesh().world->rank(),
                    rig.mesh().world->size(), small_llama(spec).vocab_size);
}

void run_ahead(const RunSpec& spec, Rig& rig, RunResult& result) {
  TrainStep& step = rig.step();
  std::int64_t enqueued = spec.first_step;
  for (std::int64_t done = spec.first_step; done < spec.steps; ++done) {
    for (; enqueued < spec.steps && step.under_way() < TrainStep::kAhead; ++enqueued)
      step.enqueue(enqueued, batches_of(spec, enqueued, rig), learning_rate(spec, enqueued));
    const StepResult r = step.finish();
    result.losses.push_back(r.loss);
    result.norms.push_back(r.grad_norm);
  }
}

}  // namespace

RunResult run_training(const RunSpec& spec, const cpu::WaitSite* ignored) {
  TestRig test(spec, ignored);
  Rig& rig = test.rig();
  RunResult result;
  result.plan = test.plan();
  if (spec.begin)
    spec.begin(rig);
  else
    rig.initialize(42);
  if (spec.ahead) run_ahead(spec, rig, result);
  for (std::int64_t step = spec.first_step; !spec.ahead && step < spec.steps; ++step) {
    const Traffic shard = rig.mesh().shard->traffic(), replicate = rig.mesh().replicate->traffic(),
                  world = rig.mesh().world->traffic();
    const StepResult r = rig.step().run(step, batches_of(spec, step, rig), learning_rate(spec, step));
    rig.comm().synchronize();  // the gathers for the next step count, too
    result.losses.push_back(r.loss);
    result.norms.push_back(r.grad_norm);
    result.shard = rig.mesh().shard->traffic() - shard;
    result.replicate = rig.mesh().replicate->traffic() - replicate;
    result.world = rig.mesh().world->traffic() - world;
  }
  if (spec.end) spec.end(rig);
  const std::vector<HostBatch> held_out = batches_of(spec, 999, rig);
  std::size_t next = 0;
  result.evaluation = rig.step().evaluate([&] { return next < held_out.size() ? &held_out[next++] : nullptr; });
  result.state_hash = hash_state(rig);
  result.persistent_bytes = rig.persistent().high_water();
  result.activation_bytes = rig.activations().high_water();
  if (const auto* cpu = dynamic_cast<const cpu::Device*>(&test.device())) result.wait_sites = cpu->wait_sites();
  return result;
}

}  // namespace sherd::test
