// Every gradient of a small model against central differences of its loss: two blocks, grouped heads, two documents in
// one sequence, a token without a target.
#include <gtest/gtest.h>

#include <cmath>

#include "sherd/base/rng.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/model/llama.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 7;

ModelConfig small_config(bool tied) {
  ModelConfig c;
  c.vocab_size = 11;
  c.hidden_size = 8;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;
  c.intermediate_size = 10;
  c.max_position = 16;
  c.tied_embeddings = tied;
  return c;
}

struct Parameter {
  std::string name;
  Tensor value, grad;
};

/// The model, its gradients and one batch, on a stream that does each op at once.
class SmallModel {
 public:
  explicit SmallModel(bool tied)
      : config_(small_config(tied)),
        device_({.schedule = cpu::Schedule::in_order, .check_hazards = true}),
        stream_(device_.stream("compute", StreamKind::compute)),
        arena_(device_.arena("model", std::size_t{80} << 20)),
        ops_(cpu::make_ops(arena_.take(DType::f32, {cpu::kWorkspaceBytes / 4}))),
        rope_(make_rope_table(*ops_, *stream_, arena_, config_, kLength)) {
    make_parameters();
    make_batch();
  }

  double loss() {
    const Arena::Scope scope(arena_);
    const LlamaContext ctx = context();
    Residual io = embed(ctx, tokens_, table_);
    for (const BlockTensors& block : blocks_) {
      BlockSaved saved = take_saved(ctx, Keep::all);
      block_forward(ctx, block, io, saved);
    }
    head_forward(ctx, head_, io, head_loss());
    return loss_.as<float>()[0];
  }

  /// Writes (beta 0) or adds (beta 1) all gradients; returns the loss.
  double backward(Keep keep, float beta) {
    const Arena::Scope scope(arena_);
    const LlamaContext ctx = context();
    Residual io = embed(ctx, tokens_, table_);
    std::vector<BlockSaved> saved;
    for (const BlockTensors& block : blocks_) block_forward(ctx, block, io, saved.emplace_back(take_saved(ctx, keep)));
    const Tensor g = arena_.take(DType::f32, {ctx.N(), config_.hidden_size});
    head_forward_backward(ctx, head_, io, head_loss(), g, head_grads_, beta);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      block_backward(ctx, blocks_[i], saved[i], g, {block_grads_[i], beta});
    }
    embed_backward(ctx, tokens_, g, table_grad_, config_.tied_embeddings ? 1 : beta);  // the head wrote first
    return loss_.as<float>()[0];
  }

  const std::vector<Parameter>& parameters() const { return parameters_; }

 private:
  Tensor parameter(const std::string& name, std::initializer_list<std::int64_t> shape, Tensor* grad) {
    const Parameter p{name, arena_.take(DType::f32, shape), arena_.take(DType::f32, shape)};
    const Random random(1, Purpose::test, stable_hash(name));
    const float mean = shape.size() == 1 ? 1.0f : 0.0f;
    std::uint64_t i = 0;
    for (float& x : p.value.as<float>()) x = mean + 0.3f * random.normal(i++);
    std::ranges::fill(p.grad.as<float>(), std::nanf(""));
    *grad = p.grad;
    parameters_.push_back(p);
    return p.value;
  }

  void make_parameters() {
    const std::int64_t C = config_.hidden_size, F = config_.intermediate_size, V = config_.vocab_size;
    const std::int64_t q = config_.heads * config_.head_dim, kv = config_.kv_heads * config_.head_dim;
    table_ = parameter("table", {V, C}, &table_grad_);
    for (const std::string at : {"block 0 ", "block 1 "}) {
      BlockTensors w, d;
      w.norm_in = parameter(at + "norm_in", {C}, &d.norm_in);
      w.qkv = parameter(at + "qkv", {q + 2 * kv, C}, &d.qkv);
      w.out = parameter(at + "out", {C, q}, &d.out);
      w.norm_post = parameter(at + "norm_post", {C}, &d.norm_post);
      w.gate_up = parameter(at + "gate_up", {2 * F, C}, &d.gate_up);
      w.down = parameter(at + "down", {C, F}, &d.down);
      blocks_.push_back(w);
      block_grads_.push_back(d);
    }
    head_.norm = parameter("head norm", {C}, &head_grads_.norm);
    head_.output = table_;
    head_grads_.output = table_grad_;
    if (!config_.tied_embeddings) head_.output = parameter("head output", {V, C}, &head_grads_.output);
  }

  void make_batch() {
    for (Tensor* t : {&tokens_, &targets_, &doc_start_}) *t = arena_.take(DType::i32, {kBatch, kLength});
    for (std::int64_t i = 0; i < kBatch * kLength; ++i) {
      const std::int64_t t = i % kLength;
      tokens_.ptr<std::int32_t>()[i] = static_cast<std::int32_t>(i * 5 % config_.vocab_size);
      targets_.ptr<std::int32_t>()[i] = t == 3 ? -1 : static_cast<std::int32_t>(i * 7 % config_.vocab_size);
      doc_start_.ptr<std::int32_t>()[i] = t < 4 ? 0 : 4;  // the first document ends at 3, and has no target there
    }
    loss_ = arena_.take(DType::f32, {1});
    divisor_ = arena_.take(DType::f32, {1});
    divisor_.as<float>()[0] = static_cast<float>(kBatch * (kLength - 1));
  }

  LlamaContext context() { return {*ops_, *stream_, arena_, config_, DType::f32, rope_, doc_start_, kBatch, kLength}; }
  HeadLoss head_loss() {
    loss_.as<float>()[0] = 0;
    return {targets_, loss_, divisor_, 4};  // chunks that do not divide the 14 rows
  }

  ModelConfig config_;
  cpu::Device device_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  std::unique_ptr<Ops> ops_;
  Tensor rope_, table_, table_grad_, tokens_, targets_, doc_start_, loss_, divisor_;
  std::vector<BlockTensors> blocks_, block_grads_;
  HeadTensors head_, head_grads_;
  std::vector<Parameter> parameters_;
};

using Values = std::vector<float>;

Values values_of(Tensor t) {
  const auto all = t.as<float>();
  return {all.begin(), all.end()};
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// (loss(x + h d) - loss(x - h d)) / 2 h, for a direction d of length 1.
double slope(SmallModel& model, const Parameter& p, const Values& direction) {
  constexpr double h = 4e-3;
  const Values before = values_of(p.value);
  const auto loss_at = [&](double step) {
    for (std::size_t i = 0; i < before.size(); ++i) {
      p.value.as<float>()[i] = before[i] + static_cast<float>(step * static_cast<double>(direction[i]));
    }
    return model.loss();
  };
  const double up = loss_at(h), down = loss_at(-h);
  std::ranges::copy(before, p.value.as<float>().begin());
  return (up - down) / (2 * h);
}

Values unit_length(Values v) {
  const double length = std::sqrt(dot(v, v));
  for (float& x : v) x = static_cast<float>(static_cast<double>(x) / length);
  return v;
}

Values random_direction(std::size_t n, std::uint64_t stream) {
  const Random random(2, Purpose::test, stream);
  Values v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = random.normal(i);
  return unit_length(v);
}

class Gradients : public testing::TestWithParam<bool> {
 protected:
  SmallModel model_{GetParam()};
};

TEST_P(Gradients, AreTheSlopesOfTheLoss) {
  EXPECT_NEAR(model_.backward(Keep::all, 0), model_.loss(), 1e-6);
  for (const Parameter& p : model_.parameters()) {
    const Values g = values_of(p.grad);
    const double length = std::sqrt(dot(g, g));
    ASSERT_GT(length, 1e-2) << p.name;  // else nothing is tested
    EXPECT_NEAR(slope(model_, p, unit_length(g)), length, 2e-3 * length) << p.name;
    for (std::uint64_t stream = 0; stream < 4; ++stream) {
      const Values d = random_direction(g.size(), stream);
      EXPECT_NEAR(slope(model_, p, d), dot(g, d), 2e-3 * length) << p.name << ", direction " << stream;
    }
  }
}

TEST_P(Gradients, AreTheSameWhenNormsAreRecomputed) {
  const double kept_loss = model_.backward(Keep::all, 0);
  std::vector<Values> kept;
  for (const Parameter& p : model_.parameters()) kept.push_back(values_of(p.grad));
  EXPECT_EQ(model_.backward(Keep::selective, 0), kept_loss);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(values_of(model_.parameters()[i].grad), kept[i]) << model_.parameters()[i].name;
  }
}

TEST_P(Gradients, AddUpOverMicroBatches) {
  model_.backward(Keep::all, 0);
  std::vector<Values> once;
  for (const Parameter& p : model_.parameters()) once.push_back(values_of(p.grad));
  model_.backward(Keep::all, 1);
  for (std::size_t i = 0; i < once.size(); ++i) {
    const Values twice = values_of(model_.parameters()[i].grad);
    for (std::size_t j = 0; j < twice.size(); ++j) {
      EXPECT_NEAR(twice[j], 2 * once[i][j], 1e-5) << model_.parameters()[i].name << " " << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, Gradients, testing::Bool(),
                         [](const auto& tied) { return tied.param ? "tied" : "untied"; });

TEST(BlockTensors, RefuseAFusionGroupThatIsNotAdjacent) {
  std::vector<float> memory(64);
  const auto at = [&](std::size_t first, std::initializer_list<std::int64_t> shape) {
    return Tensor::make(memory.data() + first, DType::f32, shape);
  };
  std::vector<Tensor> params = {at(0, {2}),  at(2, {4, 2}),  at(10, {2, 2}), at(14, {2, 2}), at(18, {2, 4}),
                                at(26, {2}), at(28, {3, 2}), at(34, {3, 2}), at(40, {2, 3})};
  const BlockTensors bound = BlockTensors::bind(params);
  EXPECT_EQ(bound.qkv.describe(), "f32 (8, 2)");
  EXPECT_EQ(bound.gate_up.describe(), "f32 (6, 2)");
  EXPECT_EQ(bound.down.data, params[8].data);
  params[3] = at(46, {2, 2});
  EXPECT_THROW(BlockTensors::bind(params), Error);
}

}  // namespace
}  // namespace sherd
