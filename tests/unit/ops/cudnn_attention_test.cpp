// cuDNN's attention beside our own, on a GPU with cuDNN: the proof that is owed before the trainer may choose it.
#include "../../../src/ops/cuda/cudnn_attention.hpp"

#include "harness.hpp"
#include "sherd/ops/attention_shape.hpp"

namespace sherd::cuda {
namespace {

using namespace sherd::ops_test;

struct Case {
  std::int64_t b, t;
  Heads heads;
  std::vector<std::int64_t> documents;  // their lengths, of every row; together t
};

class CudnnAttentionTest : public testing::TestWithParam<Case> {};

TEST_P(CudnnAttentionTest, IsEquivalentToOurs) {
  const Case& c = GetParam();
  Bench bench;
  const std::int64_t n = c.b * c.t, width = c.heads.packed(), out_width = c.heads.query * c.heads.dim;
  Arena memory = bench.device->arena("cuDNN's slab", std::size_t{1} << 30);
  std::string reason;
  const auto documents = std::ssize(c.documents) == 1 ? 0 : c.b * std::ssize(c.documents) + 3;
  const auto cudnn = CudnnAttention::make(memory.take(DType::f32, {(1 << 28) - 64}), {documents, true}, reason);
  if (!cudnn) GTEST_SKIP() << reason;

  const auto act = [&](std::int64_t cols) { return bench.poison(DType::bf16, {c.b, c.t, cols}); };
  const auto rows = [&] { return bench.poison(DType::f32, {c.b, c.heads.query, c.t}); };
  const Tensor qkv = bench.tensor(DType::bf16, {c.b, c.t, width}, normal(n * width, 1, DType::bf16));
  const Tensor dout = bench.tensor(DType::bf16, {c.b, c.t, out_width}, normal(n * out_width, 2, DType::bf16));
  const Tensor starts = bench.tensor(DType::i32, {c.b, c.t}, doc_starts(c.b, c.documents));
  const Tensor out = act(out_width), lse = rows(), dqkv = act(width), delta = rows();
  bench.ops->attention(qkv, starts, c.heads, out, lse, *bench.stream);
  bench.ops->attention_grad(dout, qkv, starts, c.heads, out, lse, delta, dqkv, *bench.stream);

  const Tensor out2 = act(out_width), lse2 = rows(), dqkv2 = act(width);
  const AttentionShape shape = attention_shape(qkv, starts, c.heads, out2, lse2);
  const AttentionCall forward{shape, qkv, starts, out2, lse2, {}, {}, {}};
  const AttentionCall backward{shape, qkv, starts, out2, lse2, dout, delta, dqkv2};
  if (!cudnn->takes(forward) || !cudnn->takes(backward)) GTEST_SKIP() << cudnn->version() << " does not take it";
  cudnn->forward(forward, *bench.stream);
  cudnn->backward(backward, *bench.stream);
  EXPECT_LT(relative_error(values_of(out2), values_of(out)), 1e-2);
  EXPECT_LT(relative_error(values_of(lse2), values_of(lse)), 1e-4);
  EXPECT_LT(relative_error(values_of(dqkv2), values_of(dqkv)), 1e-2);
  const auto bits = bits_of(dqkv2);
  cudnn->backward(backward, *bench.stream);
  EXPECT_TRUE(bits_of(dqkv2) == bits);
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudnnAttentionTest,
                         testing::Values(Case{2, 256, {4, 4, 64}, {256}}, Case{1, 512, {8, 2, 128}, {512}},
                                         Case{2, 256, {4, 4, 64}, {100, 1, 155}},
                                         Case{2, 512, {8, 2, 128}, {200, 56, 256}}));

}  // namespace
}  // namespace sherd::cuda
