#include "gemm.hpp"

#include <dnnl.h>

#include <array>

#include "elementwise.hpp"
#include "one_thread.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kMaxRows = 768, kMaxCols = 576;  // of a block of c; wider, and oneDNN packs above 1 MiB
constexpr std::int64_t kMinRows = 288, kTasks = 6;      // fewer rows only to have this many blocks
constexpr std::int64_t kDepth = 512;                    // of the operand panels that are copied to scratch memory

/// Scratch of one worker, in floats: an a panel, a b panel, a block of c.
constexpr std::int64_t kPanelA = (kMaxRows + 16) * (kDepth + 16), kPanelB = (kMaxCols + 16) * (kDepth + 16);
constexpr std::int64_t kScratch = kPanelA + kPanelB + kMaxRows * kMaxCols;

template <class From, class To>
void copy_rows(const From* from, std::int64_t from_stride, To* to, std::int64_t to_stride, std::int64_t rows,
               std::int64_t cols) {
  for (std::int64_t i = 0; i < rows; ++i)
#pragma omp simd
    for (std::int64_t j = 0; j < cols; ++j) to[i * to_stride + j] = from_f32<To>(to_f32(from[i * from_stride + j]));
}

/// c (bf16) = block + beta c.
void store_rows(const float* block, std::int64_t block_stride, bf16* c, std::int64_t c_stride, std::int64_t rows,
                std::int64_t cols, float beta) {
  if (beta == 0) return copy_rows(block, block_stride, c, c_stride, rows, cols);
  for (std::int64_t i = 0; i < rows; ++i)
#pragma omp simd
    for (std::int64_t j = 0; j < cols; ++j) {
      bf16& to = c[i * c_stride + j];
      to = from_f32<bf16>(block[i * block_stride + j] + beta * to_f32(to));
    }
}

/// The values of all codes of T.
template <class T>
constexpr std::array<float, 256> values_of_codes() {
  std::array<float, 256> values{};
  for (std::size_t code = 0; code < 256; ++code) values[code] = value_of_f8(T{static_cast<std::uint8_t>(code)});
  return values;
}

template <class T>
void decode_rows(const std::byte* from, std::int64_t from_stride, float scale, float* to, std::int64_t to_stride,
                 std::int64_t rows, std::int64_t cols) {
  static constexpr std::array<float, 256> kValues = values_of_codes<T>();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      to[i * to_stride + j] = scale * kValues[std::to_integer<std::size_t>(from[i * from_stride + j])];
}

struct Panel {
  const float* data;
  std::int64_t stride;
};

/// Rows [i, i + rows) and columns [j, j + cols) of the operand in f32: where they lie, or in `scratch` when they are
/// narrower or when their stride maps all rows to the same cache sets.
Panel panel(const Operand& from, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols, float* scratch) {
  if (from.transposed) {
    std::swap(i, j);
    std::swap(rows, cols);
  }
  const std::int64_t at = i * from.stride + j;
  const std::int64_t stride = round_up(cols, 16) % 64 == 0 ? cols + 16 : cols;
  if (is_f8(from.dtype)) {
    with_f8_type(from.dtype, [&](auto type) {
      decode_rows<decltype(type)>(from.data + at, from.stride, *from.scale, scratch, stride, rows, cols);
    });
    return {scratch, stride};
  }
  if (from.dtype == DType::bf16) {
    copy_rows(reinterpret_cast<const bf16*>(from.data) + at, from.stride, scratch, stride, rows, cols);
    return {scratch, stride};
  }
  const float* data = reinterpret_cast<const float*>(from.data) + at;
  if (from.stride % 512 != 0 || rows < 32) return {data, from.stride};
  copy_rows(data, from.stride, scratch, stride, rows, cols);
  return {scratch, stride};
}

/// One block of c: rows [i, i + rows), columns [j, j + cols), over K in panels of kDepth.
void multiply_block(const RawProduct& p, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols,
                    float* scratch) {
  float* const panel_a = scratch;
  float* const panel_b = panel_a + kPanelA;
  const bool direct = p.out == DType::f32;
  float* const c = direct ? reinterpret_cast<float*>(p.c) + i * p.c_stride + j : panel_b + kPanelB;
  const std::int64_t stride = direct ? p.c_stride : cols;
  float beta = direct ? p.beta : 0.0f;
  const std::int64_t step = round_up(div_up(p.k, div_up(p.k, kDepth)), 8);
  for (std::int64_t k = 0; k < p.k; k += step) {
    const std::int64_t depth = std::min(step, p.k - k);
    const Panel a = panel(p.a, i, k, rows, depth, panel_a);
    const Panel b = panel(p.b, k, j, depth, cols, panel_b);
    const auto status = dnnl_sgemm(p.a.transposed ? 'T' : 'N', p.b.transposed ? 'T' : 'N', rows, cols, depth, 1.0f,
                                   a.data, a.stride, b.data, b.stride, beta, c, stride);
    SHERD_CHECK(status == dnnl_success, "dnnl_sgemm of ({}, {}, {}): status {}", rows, cols, depth, int(status));
    beta = 1.0f;
  }
  if (!direct) store_rows(c, stride, reinterpret_cast<bf16*>(p.c) + i * p.c_stride + j, p.c_stride, rows, cols, p.beta);
}

RawProduct raw(const Product& p, const ProductKey& key) {
  return {key.m,
          key.n,
          key.k,
          {p.a.data, key.a_stride, p.transpose_a, key.in, reinterpret_cast<const float*>(p.a_scale.data)},
          {p.b.data, key.b_stride, p.transpose_b, key.b_in(), reinterpret_cast<const float*>(p.b_scale.data)},
          p.out.data,
          key.out_stride,
          key.out,
          p.beta};
}

}  // namespace

Blocks cut(std::int64_t m, std::int64_t n) {
  const std::int64_t across = div_up(n, kMaxCols);
  std::int64_t down = div_up(m, kMaxRows);
  down = std::max(down, std::min(div_up(kTasks, across), m / kMinRows));
  const std::int64_t rows = round_up(div_up(m, down), 6), cols = round_up(div_up(n, across), 16);
  return {rows, cols, div_up(m, rows), div_up(n, cols)};
}

void Gemm::multiply(const Product& product, const char* op) {
  const RawProduct p = raw(product, key_of(product, op));
  if (p.m == 0 || p.n == 0) return;
  SHERD_CHECK(p.k > 0, "{}: product of ({}, {}) over nothing", op, p.m, p.n);
  const Blocks blocks = cut(p.m, p.n);
  if (p.a.dtype == DType::bf16 && bf16_.available()) return bf16_.multiply(p, blocks, workspace_);
  const std::int64_t workers = std::min<std::int64_t>(threads(), workspace_.numel() / kScratch);
  for_tasks(blocks.down * blocks.across, workers, [&](std::int64_t task, std::int64_t worker) {
    const OneThread guard;
    const std::int64_t i = task % blocks.down * blocks.rows, j = task / blocks.down * blocks.cols;
    multiply_block(p, i, j, std::min(blocks.rows, p.m - i), std::min(blocks.cols, p.n - j),
                   workspace_.ptr<float>() + worker * kScratch);
  });
}

}  // namespace sherd::cpu
