#include <cmath>
#include <limits>

#include "harness.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::ops_test {
namespace {

constexpr std::int64_t kMany = 40001;  // more than one block, and a tail

TEST(Memory, FillTakesEveryType) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i32}) {
    Bench t;
    const Tensor x = t.poison(dtype, {kMany});
    t.ops->fill(x, -3, *t.stream);
    EXPECT_EQ(values_of(x), Values(kMany, -3.0));
  }
}

TEST(Memory, CastRoundsToNearestEven) {
  Bench t;
  const double inf = std::numeric_limits<double>::infinity();
  const Values x = {1, 1 + 1.0 / 256, 1 + 3.0 / 256, 1 + 1.0 / 256 + 1e-6, -0.0, inf, -inf, 3.4e38, 1e-40};
  const Tensor from = t.tensor(DType::f32, {9}, x), to = t.poison(DType::bf16, {9});
  t.ops->cast(from, to, *t.stream);
  const Values y = values_of(to);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 1 + 4.0 / 256);
  EXPECT_EQ(y[3], 1 + 2.0 / 256);
  EXPECT_TRUE(std::signbit(y[4]));
  EXPECT_EQ(y[5], inf);
  EXPECT_EQ(y[6], -inf);
  EXPECT_EQ(y[7], inf);
  EXPECT_NEAR(y[8], 1e-40, 1e-41);
  const Tensor nan = t.poison(DType::f32, {17}), nan16 = t.tensor(DType::bf16, {17}, Values(17, 0.0));
  t.ops->cast(nan, nan16, *t.stream);
  for (const double v : values_of(nan16)) EXPECT_TRUE(std::isnan(v));
}

TEST(Memory, CastBetweenAllPairsKeepsBf16Values) {
  const Values x = normal(kMany, 1, DType::bf16);
  for (const DType a : kActs)
    for (const DType b : kActs) {
      Bench t;
      const Tensor to = t.poison(b, {kMany});
      t.ops->cast(t.tensor(a, {kMany}, x), to, *t.stream);
      EXPECT_EQ(values_of(to), x);
    }
}

TEST(Memory, AddAndScaleRoundOnce) {
  const Values x = normal(kMany, 1, DType::bf16), y = normal(kMany, 2, DType::bf16);
  Values sum = y;
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] += x[i];
  for (const DType a : kActs)
    for (const DType b : kActs) {
      Bench t;
      const Tensor to = t.tensor(b, {kMany}, y);
      t.ops->add(t.tensor(a, {kMany}, x), to, *t.stream);
      EXPECT_EQ(bits_of(to), bits_of(t.tensor(b, {kMany}, sum)));
      t.ops->scale(to, t.tensor(DType::f32, {1}, {0.5}), *t.stream);
      Values half = values_of(t.tensor(b, {kMany}, sum));
      for (double& v : half) v *= 0.5;
      EXPECT_EQ(values_of(to), half);
    }
}

TEST(Memory, UploadAndDownloadAreExact) {
  Bench t;
  std::vector<std::byte> from(3 * kMany), to(3 * kMany);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7);
  from.resize(from.size() / 2 * 2), to.resize(from.size());
  const Tensor x = t.poison(DType::bf16, {static_cast<std::int64_t>(from.size() / 2)});
  t.ops->upload(from, x, *t.stream);
  t.ops->download(x, to, *t.stream);
  t.stream->synchronize();
  EXPECT_TRUE(from == to);
  EXPECT_THROW(t.ops->upload(std::span(from).first(2), x, *t.stream), Error);
}

TEST(Memory, InitializeIsAFunctionOfTheElement) {
  const Random random(5, Purpose::init, 77);
  for (const int threads : {1, 2}) {
    Bench t(threads);
    const Tensor x = t.poison(DType::f32, {3000});
    t.ops->initialize(x, {.seed = 5, .name_hash = 77, .first = 10, .scale = 0.5f}, *t.stream);
    const Values v = values_of(x);
    for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(v[i], 0.5f * random.normal(10 + i));
    t.ops->initialize(x, {.scale = 1.0f, .constant = true}, *t.stream);
    EXPECT_EQ(values_of(x), Values(3000, 1.0));
  }
}

}  // namespace
}  // namespace sherd::ops_test
