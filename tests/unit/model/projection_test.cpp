// The products of a block in eight bits: against the same in bf16, and the memory that they take.
#include "sherd/model/projection.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "../../figure.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/device/cpu/device.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 32;

ModelConfig block_config() {
  ModelConfig c;
  c.vocab_size = 32;
  c.hidden_size = 64;
  c.layers = 1;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.intermediate_size = 96;
  c.max_position = 64;
  return c;
}

using Values = std::vector<double>;

Values values_of(const Tensor& t) {
  Values out;
  for (std::int64_t i = 0; i < t.numel(); ++i)
    out.push_back(t.dtype == DType::f32 ? t.as<float>()[static_cast<std::size_t>(i)]
                                        : static_cast<float>(t.as<bf16>()[static_cast<std::size_t>(i)]));
  return out;
}

double distance(const Values& a, const Values& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference / size);
}

/// One block on a stream that does each op at once and checks what it declares to touch.
class Block {
 public:
  Block()
      : device_({.schedule = cpu::Schedule::in_order, .check_hazards = true}),
        stream_(device_.stream("compute", StreamKind::compute)),
        arena_(device_.arena("model", std::size_t{80} << 20)),
        ops_(cpu::make_ops(arena_.take(DType::f32, {cpu::kWorkspaceBytes / 4}))),
        rope_(make_rope_table(*ops_, *stream_, arena_, config_, kLength)),
        doc_start_(arena_.take(DType::i32, {kBatch, kLength})) {
    ops_->fill(doc_start_, 0, *stream_);
  }

  Tensor normal(std::uint64_t key, std::initializer_list<std::int64_t> shape, float scale = 1, float mean = 0) {
    const Tensor t = arena_.take(DType::bf16, shape);
    const Random random(3, Purpose::test, key);
    std::uint64_t i = 0;
    for (bf16& x : t.as<bf16>()) x = bf16(mean + scale * random.normal(i++));
    return t;
  }

  LlamaContext context(bool fp8) {
    return {*ops_, *stream_, arena_, config_, DType::bf16, rope_, doc_start_, kBatch, kLength, fp8};
  }

  /// The leaving branch, the gradient of what enters, and those of the nine parameters. `forget`: backward is not told
  /// the scales that forward has found.
  std::vector<Values> forward_and_backward(bool fp8, Keep keep = Keep::selective, bool forget = false) {
    const Arena::Scope scope(arena_);
    const LlamaContext ctx = context(fp8);
    const std::int64_t N = ctx.N(), C = config_.hidden_size, F = config_.intermediate_size;
    const std::int64_t q = config_.heads * config_.head_dim, packed = ctx.heads().packed();
    const float in = 1 / std::sqrt(static_cast<float>(C)), out = 1 / std::sqrt(static_cast<float>(F));
    const BlockTensors w{normal(1, {C}, 0.1f, 1), normal(2, {packed, C}, in), normal(3, {C, q}, in),
                         normal(4, {C}, 0.1f, 1), normal(5, {2 * F, C}, in),  normal(6, {C, F}, out)};
    const auto grad = [&](const Tensor& of) { return arena_.take(DType::f32, {of.rows(), of.cols()}); };
    BlockTensors d{arena_.take(DType::f32, {C}), grad(w.qkv),     grad(w.out),
                   arena_.take(DType::f32, {C}), grad(w.gate_up), grad(w.down)};
    Residual io{normal(7, {N, C}), arena_.take(DType::bf16, {N, C}), false};
    BlockSaved saved = take_saved(ctx, keep, io.stream);
    block_forward(ctx, w, io, saved);
    std::vector<Values> all{values_of(io.branch)};
    const Tensor g = normal(8, {N, C}, 1e-4f);  // as small as a mean over tokens makes it
    if (forget) saved.scales = take_scales(ctx);
    block_backward(ctx, w, saved, g, {d, 0});
    all.push_back(values_of(g));
    for (const Tensor& t : {d.norm_in, d.qkv, d.out, d.norm_post, d.gate_up, d.down}) all.push_back(values_of(t));
    return all;
  }

  Arena& arena() { return arena_; }
  const ModelConfig& config() const { return config_; }

 private:
  ModelConfig config_ = block_config();
  cpu::Device device_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  std::unique_ptr<Ops> ops_;
  Tensor rope_, doc_start_;
};

/// A product's operands are off by 2^-4 of themselves at most in e4m3 and 2^-3 in e5m2 (half of that about, rms), and
/// a gradient went through up to five such products. The bound is on the whole of each, which is less than the sum of
/// the parts.
TEST(Projection, ABlocksGradientsInEightBitsAreThoseInBf16WithinRounding) {
  constexpr double kBound = 0.15;
  Block block;
  const std::vector<Values> exact = block.forward_and_backward(false), rounded = block.forward_and_backward(true);
  double worst = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double apart = distance(rounded[i], exact[i]);
    EXPECT_LT(apart, kBound) << i;
    EXPECT_GT(apart, 0.005) << i << " was not computed in eight bits";
    worst = std::max(worst, apart);
  }
  test::figure("fp8: a block's branch and gradients differ from those in bf16 by {:.3f} at most, bound {}", worst,
               kBound);
}

/// Every bit: a scale is a function of the operand, which is the same.
TEST(Projection, BackwardComputesTheSameByTheScalesOfForward) {
  Block block;
  for (const Keep keep : {Keep::all, Keep::selective})
    EXPECT_EQ(block.forward_and_backward(true, keep), block.forward_and_backward(true, keep, true));
}

TEST(Projection, ScalesOfABlockAreEightNumbers) {
  Block block;
  const BlockScales scales = take_saved(block.context(true), Keep::selective).scales;
  std::set<const std::byte*> places;
  for (const F8Scales& product : {scales.qkv, scales.out, scales.gate_up, scales.down})
    for (const Tensor& scale : {product.x, product.w}) {
      EXPECT_EQ(scale.describe(), "f32 (1)");
      places.insert(scale.data);
    }
  EXPECT_EQ(places.size(), 8u);
  EXPECT_EQ(*places.rbegin() - *places.begin(), 7 * 16);
  EXPECT_FALSE(take_saved(block.context(false), Keep::selective).scales.qkv.x) << "a run in bf16 has none";
}

/// To the byte, law 3: forward has codes of x and of w; backward a scale, up to the next multiple of 256, codes of dy
/// in both layouts, then of x or of w, whichever is larger.
TEST(Projection, TakesTheMemoryOfItsCodes) {
  Block block;
  const LlamaContext ctx = block.context(true);
  const std::int64_t N = ctx.N(), I = 64, O = 160;
  const Tensor x = block.normal(1, {N, I}), w = block.normal(2, {O, I}), y = block.normal(3, {N, O});
  const Tensor dx = block.normal(4, {N, I}), dw = block.arena().take(DType::f32, {O, I});
  F8Scales scales = take_scales(ctx).out;
  const auto taken = [&](const std::function<void()>& run) {
    const std::size_t before = block.arena().high_water();
    run();
    return static_cast<std::int64_t>(block.arena().high_water() - before);
  };
  const std::int64_t forward = taken([&] { project(ctx, x, w, y, scales); });
  EXPECT_EQ(forward, N * I + O * I + 256 - 128);  // from the end of the eight scales on
  EXPECT_EQ(forward + taken([&] { project_backward(ctx, y, x, w, dx, dw, 0, scales); }),
            256 - 128 + 256 + 2 * N * O + std::max(N * I, O * I));
}

TEST(Projection, OddShapesStayInBf16) {
  Block block;
  const LlamaContext with = block.context(true), without = block.context(false);
  const std::int64_t N = with.N(), I = 64, O = 152;  // 9.5 times 16
  const Tensor x = block.normal(1, {N, I}), w = block.normal(2, {O, I}), y = block.normal(3, {N, O});
  F8Scales none, scales = take_scales(with).out;
  project(without, x, w, y, none);
  const Values expected = values_of(y);
  project(with, x, w, y, scales);
  EXPECT_FALSE(scales.found);
  EXPECT_EQ(values_of(y), expected);
}

TEST(Projection, NamesWhatStaysInBf16) {
  ModelConfig c = block_config();
  EXPECT_TRUE(products_without_f8(c, 64).empty());
  EXPECT_EQ(products_without_f8(c, 72).size(), 4u);
  c.intermediate_size = 104;  // 2 F = 208 = 13 * 16
  EXPECT_EQ(products_without_f8(c, 64), std::vector<std::string>{"down (64, 64, 104)"});
}

}  // namespace
}  // namespace sherd
