#include "harness.hpp"

namespace sherd::ops_test {
namespace {

TEST(Embedding, CopiesRows) {
  for (const DType act : kActs) {
    Bench t;
    const Tensor out = t.poison(act, {1, 4, 2});
    t.ops->embedding(t.tensor(DType::i32, {1, 4}, {2, 0, 2, 1}), t.tensor(act, {3, 2}, {1, 2, 3, 4, 5, 6}), out,
                     *t.stream);
    EXPECT_EQ(values_of(out), (Values{5, 6, 1, 2, 5, 6, 3, 4}));
  }
}

TEST(Embedding, GradientAddsRowsPerToken) {
  constexpr std::int64_t kV = 50, kC = 300;
  for (const DType act : kActs)
    for (const DType grad : {DType::f32, act})
      for (const std::int64_t n : {1, 7, 129, 1000}) {
        Bench t;
        Values tokens, expected = normal(kV * kC, 1, grad);
        const Tensor dtable = t.tensor(grad, {kV, kC}, expected);
        const Values dout = normal(n * kC, 2, act);
        for (std::int64_t i = 0; i < n; ++i) {
          tokens.push_back(static_cast<double>(i % 3 == 0 ? 7 : i * i % 49));  // one token has long runs, 49 has none
          for (std::int64_t j = 0; j < kC; ++j)
            expected[static_cast<std::size_t>(tokens.back()) * kC + static_cast<std::size_t>(j)] +=
                dout[static_cast<std::size_t>(i * kC + j)];
        }
        t.ops->embedding_grad(t.tensor(act, {n, kC}, dout), t.tensor(DType::i32, {n}, tokens), dtable, *t.stream);
        EXPECT_LT(relative_error(values_of(dtable), expected), tolerance(grad)) << n;
      }
}

TEST(Embedding, ThreadsDoNotChangeBits) {
  std::vector<std::uint32_t> first;
  for (const int threads : {1, 2, 3}) {
    Bench t(threads);
    Values tokens;
    for (int i = 0; i < 500; ++i) tokens.push_back(i * i % 5);
    const Tensor dtable = t.tensor(DType::f32, {5, 40}, Values(200, 0.0));
    t.ops->embedding_grad(t.tensor(DType::f32, {500, 40}, normal(500 * 40, 1)), t.tensor(DType::i32, {500}, tokens),
                          dtable, *t.stream);
    if (first.empty()) first = bits_of(dtable);
    EXPECT_EQ(bits_of(dtable), first);
  }
}

TEST(Embedding, RefusesTokensOutsideTheVocabulary) {
  for (const double token : {3.0, -1.0})
    for (const bool grad : {false, true}) {
      Bench t;  // a device keeps its first error
      const Tensor tokens = t.tensor(DType::i32, {2}, {0, token}), table = t.tensor(DType::f32, {3, 1}, {1, 2, 3});
      const Tensor rows = t.tensor(DType::f32, {2, 1}, {0, 0});
      try {
        if (grad) {
          t.ops->embedding_grad(rows, tokens, table, *t.stream);
        } else {
          t.ops->embedding(tokens, table, rows, *t.stream);
        }
        t.stream->synchronize();
        FAIL() << "token " << token << " was taken";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ExitCode::bad_input);
        EXPECT_NE(std::string(e.what()).find(fmt::format("token {} at position 1", token)), std::string::npos);
      }
    }
}

}  // namespace
}  // namespace sherd::ops_test
