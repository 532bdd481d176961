#include "sherd/ops/product.hpp"

#include <algorithm>

#include "sherd/ops/check.hpp"

namespace sherd {
namespace {

/// The distance of two rows; of a matrix with one row it means nothing, and libraries want it sane.
std::int64_t stride_of(const Tensor& t) {
  return t.rows() > 1 ? t.row_stride : t.cols();
}

void check_operand(const char* name, const Tensor& t, std::int64_t rows, std::int64_t cols, const char* op) {
  SHERD_CHECK(t.cols() == cols && (cols == 0 || t.rows() == rows), "{}: {} is {}, expected ({}, {})", op, name,
              t.describe(), rows, cols);
  SHERD_CHECK(t.rows() <= 1 || t.row_stride >= cols, "{}: rows of {} {} overlap: they lie {} elements apart", op, name,
              t.describe(), t.row_stride);
}

}  // namespace

std::string ProductKey::text() const {
  return fmt::format("{} {} m {} n {} k {} strides {} {} {} {} {} {}", name_of(in), name_of(out), m, n, k, a_stride,
                     b_stride, out_stride, transpose_a ? "t" : "n", transpose_b ? "t" : "n",
                     accumulate ? "beta" : "new");
}

ProductKey key_of(const Product& p, const char* op) {
  ProductKey key;
  key.in = p.a.dtype;
  key.out = p.out.dtype;
  SHERD_CHECK(p.b.dtype == key.in && (key.in == DType::f32 || key.in == DType::bf16) && (key.out == key.in || key.out == DType::f32),
              "{}: product of {} and {} as {}", op, name_of(key.in), name_of(p.b.dtype), name_of(key.out));
  key.m = p.out.cols() == 0 ? 0 : p.out.rows();
  key.n = p.out.cols();
  key.k = p.transpose_b ? p.b.cols() : p.transpose_a ? p.a.rows() : p.a.cols();
  if (key.m == 0 || key.n == 0) return key;
  check_operand("out", p.out, key.m, key.n, op);
  if (key.k > 0) {
    check_operand("a", p.a, p.transpose_a ? key.k : key.m, p.transpose_a ? key.m : key.k, op);
    check_operand("b", p.b, p.transpose_b ? key.n : key.k, p.transpose_b ? key.k : key.n, op);
  }
  key.a_stride = stride_of(p.a);
  key.b_stride = stride_of(p.b);
  key.out_stride = stride_of(p.out);
  key.transpose_a = p.transpose_a;
  key.transpose_b = p.transpose_b;
  key.accumulate = p.beta != 0.0f;
  return key;
}

Product linear_product(Tensor x, Tensor w, Tensor y) {
  check_act("x", x);
  check_matrix("w", w, y.cols(), x.cols(), x.dtype);
  check_matrix("y", y, x.rows(), w.rows(), x.dtype);
  return {x, w, y, false, true, 0};
}

Product linear_grad_input_product(Tensor dy, Tensor w, Tensor dx, float beta) {
  check_act("dy", dy);
  check_matrix("w", w, dy.cols(), dx.cols(), dy.dtype);
  check_matrix("dx", dx, dy.rows(), w.cols(), dy.dtype);
  return {dy, w, dx, false, false, beta};
}

Product linear_grad_weight_product(Tensor dy, Tensor x, Tensor dw, float beta) {
  check_act("dy", dy);
  check_matrix("x", x, dy.rows(), dw.cols(), dy.dtype);
  check_grad("dw", dw, dy.dtype);
  check_matrix("dw", dw, dy.cols(), x.cols(), dw.dtype);
  return {dy, x, dw, true, false, beta};
}

CrossEntropyChunk cross_entropy_chunk(const Ops::CrossEntropy& args, std::int64_t first) {
  const std::int64_t n = args.targets.numel(), c = args.w.cols(), rows = std::min(args.logits.rows(), n - first);
  const Tensor x = args.x.view({n, c}).row_range(first, rows);
  CrossEntropyChunk chunk{first, rows, {x, args.w, args.logits.row_range(0, rows), false, true, 0}, {}, {}};
  if (!args.dx) return chunk;
  const Tensor dlogits = args.dlogits.row_range(0, rows);
  chunk.dx = {dlogits, args.w, args.dx.view({n, c}).row_range(first, rows), false, false, 0};
  chunk.dw = {dlogits, x, args.dw, true, false, first == 0 ? args.beta : 1};
  return chunk;
}

}  // namespace sherd
