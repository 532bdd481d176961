// What Gemm and the search ask of cuBLASLt, seen by a library that the test invents (fake_cublas_lt.hpp).
#include "../../../src/ops/cuda/gemm.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <utility>

#include "../../../src/ops/cuda/gemm_search.hpp"
#include "fake_cublas_lt.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/device/cuda/device.hpp"

namespace sherd::cuda {
namespace {

using ::emulation::fake;

/// Host memory on a 256-byte boundary; the emulated device can read it.
class Memory {
 public:
  explicit Memory(std::size_t bytes = 1 << 20) : bytes_(bytes + 256) {}
  std::byte* at(std::size_t offset = 0) {
    return bytes_.data() + (256 - reinterpret_cast<std::uintptr_t>(bytes_.data()) % 256) % 256 + offset;
  }
  Tensor slab() { return Tensor::make(at(), DType::f32, {narrow<std::int64_t>((bytes_.size() - 256) / 4)}); }

 private:
  std::vector<std::byte> bytes_;
};

class GemmTest : public ::testing::Test {
 protected:
  GemmTest() {
    fake() = {};
    fake().algorithms = {{.id = 1}};
  }

  void multiply(Gemm& gemm, const Product& product) {
    gemm.multiply(product, "test", *stream_);
    stream_->synchronize();
  }
  Tensor matrix(Memory& memory, DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t gap = 0) {
    Tensor t = Tensor::make(memory.at(), dtype, {rows, cols});
    t.row_stride = cols + gap;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j) set(t, i, j, static_cast<float>((7 * i + 3 * j) % 5 - 2));
    return t;
  }
  static void set(const Tensor& t, std::int64_t i, std::int64_t j, float value) {
    const std::int64_t at = i * t.row_stride + j;
    t.dtype == DType::f32 ? void(t.ptr<float>()[at] = value) : void(t.ptr<bf16>()[at] = bf16(value));
  }
  static float get(const Tensor& t, std::int64_t i, std::int64_t j) {
    const std::int64_t at = i * t.row_stride + j;
    return t.dtype == DType::f32 ? t.ptr<float>()[at] : static_cast<float>(t.ptr<bf16>()[at]);
  }

  Memory work_, a_, b_, out_;
  std::unique_ptr<Device> device_ = make_device(0, {});
  std::unique_ptr<Stream> stream_ = device_->stream("products", StreamKind::compute);
};

TEST_F(GemmTest, MultipliesEveryTransposeDtypeAndStride) {
  Gemm gemm(work_.slab());
  const std::int64_t m = 7, n = 5, k = 9;
  for (const auto& [in, out_type] :
       {std::pair{DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const std::int64_t gap : {0, 3})
          for (const float beta : {0.0f, 1.0f, 2.0f}) {
            const Tensor a = matrix(a_, in, ta ? k : m, ta ? m : k, gap);
            const Tensor b = matrix(b_, in, tb ? n : k, tb ? k : n, gap);
            const Tensor out = matrix(out_, out_type, m, n, gap);
            std::vector<float> expected;
            for (std::int64_t i = 0; i < m; ++i)
              for (std::int64_t j = 0; j < n; ++j) {
                float sum = beta * get(out, i, j);
                for (std::int64_t x = 0; x < k; ++x)
                  sum += (ta ? get(a, x, i) : get(a, i, x)) * (tb ? get(b, j, x) : get(b, x, j));
                expected.push_back(sum);
                if (beta == 0) set(out, i, j, std::numeric_limits<float>::quiet_NaN());
              }
            multiply(gemm, {a, b, out, ta, tb, beta});
            for (std::int64_t i = 0; i < m; ++i)
              for (std::int64_t j = 0; j < n; ++j)
                ASSERT_EQ(get(out, i, j), expected[static_cast<std::size_t>(i * n + j)])
                    << i << ' ' << j << ' ' << ta << tb;
            EXPECT_EQ(fake().pedantic, in == DType::f32);
          }
}

/// A product in eight bits of which every element is `value`.
struct EightBits {
  Memory memory;
  Product p;
  EightBits(DType format, std::int64_t m, std::int64_t n, std::int64_t k, float value) {
    auto take = [&, at = std::size_t{0}](DType dtype, std::int64_t rows, std::int64_t cols) mutable {
      return Tensor::make(memory.at(std::exchange(at, at + 16384)), dtype, {rows, cols});
    };
    p = {take(format, m, k), take(DType::f8e4m3, n, k), take(DType::f32, m, n), false, true, 0};
    p.a_scale = take(DType::f32, 1, 1);
    p.b_scale = take(DType::f32, 1, 1);
    const auto fill = [](const Tensor& t, std::uint8_t code) { std::memset(t.data, code, t.bytes()); };
    fill(p.a, format == DType::f8e4m3 ? round_to_f8<f8e4m3>(value).bits : round_to_f8<f8e5m2>(value).bits);
    fill(p.b, round_to_f8<f8e4m3>(value).bits);
    scales(1, 1);
  }
  void scales(float a, float b) {
    *p.a_scale.ptr<float>() = a;
    *p.b_scale.ptr<float>() = b;
  }
  float first() const { return *p.out.ptr<float>(); }
};

/// The plan of a shape is kept, and with it the library's description; the scales are those of each call.
TEST_F(GemmTest, MultipliesInEightBitsByTheScalesOfTheCall) {
  Gemm gemm(work_.slab());
  for (const DType format : {DType::f8e4m3, DType::f8e5m2}) {
    EightBits one(format, 16, 32, 48, 0.5f), other(format, 16, 32, 48, 2.0f);
    one.scales(4, 0.25f);
    other.scales(0.5f, 8);
    for (int i = 0; i < 2; ++i) {
      multiply(gemm, one.p);
      EXPECT_EQ(one.first(), 48 * 0.25f);
      multiply(gemm, other.p);
      EXPECT_EQ(other.first(), 48 * 4 * 4.0f);
    }
  }
  EXPECT_EQ(fake().heuristics, 2);
  EXPECT_EQ(fake().in_eight_bits, 8u);
}

/// The library has nothing for codes at odd addresses; the plain kernel has.
TEST_F(GemmTest, MultipliesInEightBitsWhatTheLibraryRefuses) {
  Gemm gemm(work_.slab());
  for (const DType format : {DType::f8e4m3, DType::f8e5m2}) {
    EightBits askew(format, 16, 32, 48, 0.5f);
    askew.scales(4, 0.5f);
    askew.p.a.data += 1;
    askew.p.a.data[askew.p.a.bytes() - 1] = askew.p.a.data[0];
    multiply(gemm, askew.p);
    EXPECT_EQ(askew.first(), 48 * 0.5f);
  }
  EXPECT_EQ(fake().in_eight_bits, 0u);
}

TEST_F(GemmTest, RefusesEightBitsThatTheLibraryCannotMultiply) {
  Gemm gemm(work_.slab());
  const auto refuses = [&](const auto& change) {
    EightBits product(DType::f8e4m3, 16, 16, 16, 1);
    change(product.p);
    EXPECT_THROW(multiply(gemm, product.p), Error);
  };
  refuses([](Product& p) { p.transpose_b = false; });
  refuses([](Product& p) { p.transpose_a = true; });
  refuses([](Product& p) { p.a_scale = {}; });
  refuses([](Product& p) { p.b_scale = {}; });
  refuses([](Product& p) { p.a.dtype = p.b.dtype = DType::f8e5m2; });
  refuses([](Product& p) { p.out.dtype = DType::f8e4m3; });
}

TEST_F(GemmTest, PlansAShapeOnce) {
  Gemm gemm(work_.slab());
  const Product p{matrix(a_, DType::f32, 4, 4), matrix(b_, DType::f32, 4, 4), matrix(out_, DType::f32, 4, 4)};
  for (int i = 0; i < 3; ++i) multiply(gemm, p);
  EXPECT_EQ(fake().heuristics, 1);
}

TEST_F(GemmTest, TellsTheLibraryTheRealAlignments) {
  Gemm gemm(work_.slab());
  Product p{matrix(a_, DType::bf16, 4, 4), matrix(b_, DType::bf16, 4, 4), matrix(out_, DType::bf16, 4, 4)};
  p.a.data += 2;
  p.b.data += 48;
  multiply(gemm, p);
  EXPECT_EQ(fake().alignments, (std::vector<std::uint32_t>{16, 2, 256, 256}));  // the library's A is our b
}

TEST_F(GemmTest, SumsOfNothingNeedNoLibrary) {
  Gemm gemm(work_.slab());
  const Tensor out = matrix(out_, DType::f32, 2, 2), before = matrix(a_, DType::f32, 2, 2);
  multiply(gemm, {matrix(a_, DType::f32, 2, 0), matrix(b_, DType::f32, 0, 2), out, false, false, 1});
  EXPECT_EQ(get(out, 1, 1), get(before, 1, 1));
  multiply(gemm, {matrix(a_, DType::f32, 2, 0), matrix(b_, DType::f32, 0, 2), out});
  EXPECT_EQ(get(out, 1, 1), 0);
  multiply(gemm, {matrix(a_, DType::f32, 0, 3), matrix(b_, DType::f32, 3, 2), matrix(out_, DType::f32, 0, 2)});
  multiply(gemm, {matrix(a_, DType::f32, 2, 3), matrix(b_, DType::f32, 3, 0), matrix(out_, DType::f32, 2, 0)});
  EXPECT_EQ(fake().heuristics, 0);
}

TEST_F(GemmTest, OneRowMayHaveAnyStride) {
  Gemm gemm(work_.slab());
  Product p{matrix(a_, DType::f32, 1, 4), matrix(b_, DType::f32, 4, 4), matrix(out_, DType::f32, 1, 4)};
  p.a.row_stride = p.out.row_stride = 0;
  multiply(gemm, p);
  EXPECT_EQ(fake().ran.size(), 1u);
}

TEST_F(GemmTest, RefusesOperandsThatDoNotFit) {
  Gemm gemm(work_.slab());
  const Tensor out = matrix(out_, DType::f32, 2, 2), a = matrix(a_, DType::f32, 2, 3);
  EXPECT_THROW(multiply(gemm, {a, matrix(b_, DType::f32, 4, 2), out}), Error);
  EXPECT_THROW(multiply(gemm, {a, matrix(b_, DType::bf16, 3, 2), out}), Error);
  Tensor overlapping = a;
  overlapping.row_stride = 2;
  EXPECT_THROW(multiply(gemm, {overlapping, matrix(b_, DType::f32, 3, 2), out}), Error);
  const Tensor narrow_out = matrix(out_, DType::bf16, 2, 2);
  EXPECT_THROW(multiply(gemm, {a, matrix(b_, DType::f32, 3, 2), narrow_out}), Error);
}

TEST_F(GemmTest, TakesTheFirstAlgorithmWhoseSumsHaveAFixedOrder) {
  fake().algorithms = {{.id = 1, .scheme = 1},
                       {.id = 2, .scheme = 4},
                       {.id = 3, .workspace = 1 << 30},
                       {.id = 4, .scheme = 2},
                       {.id = 5}};
  Gemm gemm(work_.slab());
  multiply(gemm, {matrix(a_, DType::f32, 4, 4), matrix(b_, DType::f32, 4, 4), matrix(out_, DType::f32, 4, 4)});
  EXPECT_EQ(fake().ran, std::vector<std::uint64_t>{4});
}

TEST_F(GemmTest, WithoutAnyAlgorithmThePlainKernelComputes) {
  fake().algorithms.clear();
  Gemm gemm(work_.slab());
  const Tensor a = matrix(a_, DType::f32, 4, 4), b = matrix(b_, DType::f32, 4, 4), out = matrix(out_, DType::f32, 4, 4);
  multiply(gemm, {a, b, out});
  float sum = 0;
  for (int x = 0; x < 4; ++x) sum += get(a, 1, x) * get(b, x, 2);
  EXPECT_EQ(get(out, 1, 2), sum);
  EXPECT_TRUE(fake().ran.empty());
}

TEST_F(GemmTest, PinsWhatTheTableSaysAndRefusesWhatTheLibraryRefuses) {
  Gemm gemm(work_.slab());
  Product p{matrix(a_, DType::f32, 4, 4), matrix(b_, DType::f32, 4, 4), matrix(out_, DType::f32, 4, 4)};
  const auto run_pinned = [&](const AlgorithmBytes& bytes) {
    GemmTable table;
    table.set(key_of(p, "test"), {bytes, 1});
    gemm.pin(table);
    fake().ran.clear();
    multiply(gemm, p);
    return fake().ran;
  };
  using Ids = std::vector<std::uint64_t>;
  EXPECT_EQ(run_pinned({9, 0, 16, 0, 1, 0, 0, 0}), Ids{9});
  EXPECT_EQ(run_pinned({0, 0, 16, 0, 1, 0, 0, 0}), Ids{1});        // of another architecture
  EXPECT_EQ(run_pinned({9, 1, 16, 0, 1, 0, 0, 0}), Ids{1});        // reduces in place
  EXPECT_EQ(run_pinned({9, 0, 16, 1 << 30, 1, 0, 0, 0}), Ids{1});  // workspace
  p.a.data += 4;
  EXPECT_EQ(run_pinned({9, 0, 16, 0, 1, 0, 0, 0}), Ids{1});  // address
}

TEST_F(GemmTest, TheSearchTakesTheFastestThatRepeatsItself) {
  fake().algorithms = {{.id = 1, .microseconds = 50},
                       {.id = 2, .microseconds = 20},
                       {.id = 3, .microseconds = 5, .changes_bits = true},
                       {.id = 4, .microseconds = 1, .fails = true},
                       {.id = 5, .microseconds = 30}};
  Memory scratch;
  ProductKey key{.m = 4, .n = 3, .k = 2, .a_stride = 2, .b_stride = 3, .out_stride = 3};
  for (const bool accumulate : {false, true}) {
    key.accumulate = accumulate;
    const GemmTable table = search_products(std::vector{key}, scratch.slab(), work_.slab(), *stream_);
    ASSERT_NE(table.find(key), nullptr);
    EXPECT_EQ(table.find(key)->algorithm[0], 2u);
    EXPECT_NEAR(table.find(key)->microseconds, 21, 0.01);  // a launch takes one
  }
  key.m = 1 << 20;
  EXPECT_FALSE(search_products(std::vector{key}, scratch.slab(), work_.slab(), *stream_).find(key)->any());
}

TEST_F(GemmTest, TheTargetIsTheDevice) {
  EXPECT_EQ(current_target(), (GemmTarget{"Emulated GPU", 90, 4, 130100}));
}

}  // namespace
}  // namespace sherd::cuda
