// The shape of a product, and the check that its operands fit each other.
#include "gemm.hpp"

namespace sherd::cuda {
namespace {

/// The distance of two rows; of a matrix with one row it means nothing, and the library wants it sane.
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

ProductKey key_of(const Product& p, const char* op) {
  ProductKey key;
  key.in = p.a.dtype;
  key.out = p.out.dtype;
  SHERD_CHECK(p.b.dtype == key.in && key.in != DType::i32 && (key.out == key.in || key.out == DType::f32),
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

}  // namespace sherd::cuda
