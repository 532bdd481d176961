#include <algorithm>
#include <cmath>
#include <numeric>

#include "harness.hpp"

namespace sherd::ops_test {
namespace {

struct Case {
  std::int64_t b, t;
  Heads heads;
  std::vector<std::int64_t> documents;  // their lengths, of every row; together t
  std::string name() const {
    return fmt::format("B {} T {} H {} K {} D {}, {} documents", b, t, heads.query, heads.kv, heads.dim,
                       documents.size());
  }
};

std::vector<Case> cases() {
  return {{1, 1, {1, 1, 16}, {1}},         {2, 7, {3, 1, 16}, {3, 1, 3}},
          {1, 129, {3, 1, 40}, {129}},     {2, 130, {4, 2, 64}, {1, 1, 98, 30}},
          {1, 250, {2, 1, 5}, {100, 150}}, {1, 200, {2, 2, 130}, {96, 96, 8}},
          {2, 230, {6, 2, 40}, {230}},     {1, 200, {2, 1, 128}, {70, 130}},
          {1, 130, {2, 1, 96}, {130}},     {1, 70, {4, 1, 80}, {70}}};
}

/// Plain attention in f64: out (B, T, H D) and lse (B, H, T), row by row.
void reference(const Case& c, const Values& qkv, Values& out, Values& lse) {
  const auto [h, k, d] = c.heads;
  const std::int64_t width = c.heads.packed();
  const Values starts = doc_starts(c.b, c.documents);
  out.assign(static_cast<std::size_t>(c.b * c.t * h * d), 0);
  lse.assign(static_cast<std::size_t>(c.b * h * c.t), 0);
  const auto at = [&](std::int64_t b, std::int64_t t, std::int64_t head) {
    return qkv.data() + (b * c.t + t) * width + head * d;
  };
  for (std::int64_t b = 0; b < c.b; ++b)
    for (std::int64_t head = 0; head < h; ++head)
      for (std::int64_t t = 0; t < c.t; ++t) {
        const auto first = static_cast<std::int64_t>(starts[static_cast<std::size_t>(b * c.t + t)]);
        Values p;
        for (std::int64_t u = first; u <= t; ++u)
          p.push_back(std::inner_product(at(b, t, head), at(b, t, head) + d, at(b, u, h + head / (h / k)), 0.0) /
                      std::sqrt(static_cast<double>(d)));
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        double* to = out.data() + (b * c.t + t) * h * d + head * d;
        for (std::int64_t u = first; u <= t; ++u)
          for (std::int64_t j = 0; j < d; ++j)
            to[j] += p[static_cast<std::size_t>(u - first)] / sum * at(b, u, h + k + head / (h / k))[j];
        lse[static_cast<std::size_t>((b * h + head) * c.t + t)] = top + std::log(sum);
      }
}

struct Tensors {
  Tensor qkv, doc_start, out, lse;
};
Tensors forward(Bench& t, const Case& c, DType act, const Values& qkv) {
  const Tensors x{
      t.tensor(act, {c.b, c.t, c.heads.packed()}, qkv), t.tensor(DType::i32, {c.b, c.t}, doc_starts(c.b, c.documents)),
      t.poison(act, {c.b, c.t, c.heads.query * c.heads.dim}), t.poison(DType::f32, {c.b, c.heads.query, c.t})};
  t.ops->attention(x.qkv, x.doc_start, c.heads, x.out, x.lse, *t.stream);
  return x;
}

Tensor backward(Bench& t, const Case& c, const Tensors& x, const Values& dout) {
  const Tensor dqkv = t.poison(x.qkv.dtype, {c.b, c.t, c.heads.packed()});
  t.ops->attention_grad(t.tensor(x.qkv.dtype, {c.b, c.t, c.heads.query * c.heads.dim}, dout), x.qkv, x.doc_start,
                        c.heads, x.out, x.lse, t.poison(DType::f32, {c.b, c.heads.query, c.t}), dqkv, *t.stream);
  return dqkv;
}

TEST(Attention, OneKeyIsItsValue) {
  Bench t;
  const Case c{1, 2, {1, 1, 2}, {1, 1}};
  const Tensors x = forward(t, c, DType::f32, {1, 0, 2, 0, 5, 6, 1, 1, 1, 1, 7, 8});
  EXPECT_EQ(values_of(x.out), (Values{5, 6, 7, 8}));
  EXPECT_NEAR(values_of(x.lse)[0], 2 / std::sqrt(2.0), 1e-6);
}

TEST(Attention, ForwardIsEquivalentToReference) {
  for (const DType act : kActs)
    for (const Case& c : cases()) {
      Bench t;
      const Values qkv = normal(c.b * c.t * c.heads.packed(), 1, act);
      const Tensors x = forward(t, c, act, qkv);
      Values out, lse;
      reference(c, qkv, out, lse);
      EXPECT_LT(relative_error(values_of(x.out), out), tolerance(act)) << c.name();
      EXPECT_LT(relative_error(values_of(x.lse), lse), tolerance(DType::f32)) << c.name();
    }
}

/// Scores far beyond the range of exp, growing along the keys, so that the running maximum moves at every tile.
TEST(Attention, LargeScoresDoNotOverflow) {
  Bench t;
  const Case c{1, 300, {1, 1, 16}, {300}};
  Values qkv = normal(c.t * c.heads.packed(), 1);
  for (std::int64_t u = 0; u < c.t; ++u)
    for (int j = 0; j < 32; ++j) qkv[static_cast<std::size_t>(u * 48 + j)] *= static_cast<double>(u) / 10;
  for (double& x : qkv) x = static_cast<float>(x);
  const Tensors x = forward(t, c, DType::f32, qkv);
  Values out, lse;
  reference(c, qkv, out, lse);
  EXPECT_LT(relative_error(values_of(x.out), out), 2e-5);
}

TEST(Attention, GradientIsTheFiniteDifference) {
  for (const Case& c : {Case{1, 1, {1, 1, 4}, {1}}, Case{1, 7, {3, 1, 4}, {3, 1, 3}}, Case{2, 5, {4, 2, 3}, {5}}}) {
    Bench t;
    const Values qkv = normal(c.b * c.t * c.heads.packed(), 1),
                 dout = normal(c.b * c.t * c.heads.query * c.heads.dim, 2);
    const auto loss = [&](const Values& moved) {
      Values out, lse;
      reference(c, moved, out, lse);
      return dot(out, dout);
    };
    const Tensor dqkv = backward(t, c, forward(t, c, DType::f32, qkv), dout);
    EXPECT_LT(relative_error(values_of(dqkv), numeric_gradient(loss, qkv)), 1e-5) << c.name();
  }
}

/// At sizes of several tiles: the slope along random directions, each of queries, keys and values alone.
TEST(Attention, GradientOfManyTilesIsTheSlope) {
  for (const DType act : kActs)
    for (const Case& c : cases()) {
      Bench t;
      const std::int64_t n = c.b * c.t, width = c.heads.packed();
      const Values qkv = normal(n * width, 1, act), dout = normal(n * c.heads.query * c.heads.dim, 2, act);
      const Values gradient = values_of(backward(t, c, forward(t, c, act, qkv), dout));
      const std::int64_t ends[] = {0, c.heads.query * c.heads.dim, (c.heads.query + c.heads.kv) * c.heads.dim, width};
      for (int part = 0; part < 3; ++part) {
        // along the gradient itself in this part, disturbed: no cancellation, and every element counts
        Values direction = normal(n * width, 3 + static_cast<std::uint64_t>(part), DType::f32, 0.5);
        for (std::int64_t i = 0; i < n * width; ++i) {
          const bool inside = i % width >= ends[part] && i % width < ends[part + 1];
          double& x = direction[static_cast<std::size_t>(i)];
          x = inside ? (1 + x) * gradient[static_cast<std::size_t>(i)] : 0;
        }
        const double size = std::sqrt(dot(direction, direction));
        if (size < 1e-5) continue;  // one key: the scores do not matter
        Values up = qkv, down = qkv, out, lse;
        for (std::size_t i = 0; i < qkv.size(); ++i) {
          up[i] += 1e-4 / size * direction[i];
          down[i] -= 1e-4 / size * direction[i];
        }
        reference(c, up, out, lse);
        double slope = dot(out, dout);
        reference(c, down, out, lse);
        slope = (slope - dot(out, dout)) / 2e-4;
        EXPECT_NEAR(dot(gradient, direction) / size / slope, 1.0, act == DType::bf16 ? 1e-2 : 1e-5)
            << c.name() << " part " << part;
      }
    }
}

TEST(Attention, ThreadsDoNotChangeBits) {
  for (const DType act : kActs) {
    for (const Case& c : {Case{1, 400, {3, 1, 24}, {100, 300}}, Case{4, 250, {3, 1, 24}, {100, 150}}}) {
      std::vector<std::vector<std::uint32_t>> seen;
      for (const int threads : {1, 2, 3, 7}) {
        Bench t(threads);
        const Tensors x = forward(t, c, act, normal(c.b * c.t * c.heads.packed(), 1));
        const Tensor dqkv = backward(t, c, x, normal(c.b * c.t * c.heads.query * c.heads.dim, 2));
        seen.push_back(bits_of(x.out));
        const auto grad = bits_of(dqkv);
        seen.back().insert(seen.back().end(), grad.begin(), grad.end());
        EXPECT_TRUE(seen.back() == seen.front()) << c.name() << ", " << threads << " threads";
      }
    }
  }
}

TEST(Attention, DecodeIsTheLastRowOfAttention) {
  for (const DType act : kActs) {
    const Case c{2, 150, {6, 2, 40}, {150}};
    constexpr std::int64_t kCapacity = 160;
    Bench t;
    const Values qkv = normal(c.b * c.t * c.heads.packed(), 1, act);
    Values out, lse, q, expected;
    reference(c, qkv, out, lse);
    const std::int64_t qw = c.heads.query * c.heads.dim, kw = c.heads.kv * c.heads.dim;
    Values cache[2] = {Values(static_cast<std::size_t>(c.b * kCapacity * kw), NAN),
                       Values(static_cast<std::size_t>(c.b * kCapacity * kw), NAN)};
    for (std::int64_t b = 0; b < c.b; ++b) {
      const auto last = qkv.begin() + (b * c.t + c.t - 1) * c.heads.packed();
      q.insert(q.end(), last, last + qw);
      const auto row = out.begin() + (b * c.t + c.t - 1) * qw;
      expected.insert(expected.end(), row, row + qw);
      for (std::int64_t u = 0; u < c.t; ++u)
        for (int part = 0; part < 2; ++part)
          std::copy_n(qkv.begin() + (b * c.t + u) * c.heads.packed() + qw + part * kw, kw,
                      cache[part].begin() + (b * kCapacity + u) * kw);
    }
    const Tensor to = t.poison(act, {c.b, qw});
    t.ops->attention_decode(t.tensor(act, {c.b, qw}, q), t.tensor(act, {c.b, kCapacity, kw}, cache[0]),
                            t.tensor(act, {c.b, kCapacity, kw}, cache[1]), c.t, c.heads, to, *t.stream);
    EXPECT_LT(relative_error(values_of(to), expected), tolerance(act));
  }
}

TEST(Attention, RefusesHeadsThatDoNotGroup) {
  Bench t;
  EXPECT_THROW(forward(t, Case{1, 2, {3, 2, 4}, {2}}, DType::f32, normal(2 * 28, 1)), Error);
}

}  // namespace
}  // namespace sherd::ops_test
