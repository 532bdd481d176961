#pragma once
// Products: which matrix products the ops are made of. Every backend computes these, and the plan counts them, so the
// shapes that are searched for fast algorithms before a run are the shapes that the run multiplies.
#include <compare>
#include <string>

#include "sherd/ops/ops.hpp"

namespace sherd {

/// out (M, N) = op(a) op(b) + beta out, row-major. op transposes if asked: a is (M, K), or (K, M) transposed; b is
/// (K, N), or (N, K) transposed. a and b have one dtype, f32 or bf16; out has it too, or is f32. Rows may have strides.
/// With beta 0 out is not read.
struct Product {
  Tensor a, b, out;
  bool transpose_a = false, transpose_b = false;
  float beta = 0;
};

/// The shape of a product: all that the speed of an algorithm depends on, but for how round the addresses are.
struct ProductKey {
  DType in = DType::f32, out = DType::f32;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t a_stride = 0, b_stride = 0, out_stride = 0;  // elements from a row of the stored matrix to the next
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;  // beta is not 0

  auto operator<=>(const ProductKey&) const = default;
  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  /// "bf16 f32 m 4096 n 11008 k 2048 strides 4096 11008 11008 t n beta"
  std::string text() const;
};

/// Throws, naming `op`, if the operands do not fit each other. Reads no data.
ProductKey key_of(const Product& product, const char* op);

/// The products of Ops::linear and its gradients; they check the op's arguments.
Product linear_product(Tensor x, Tensor w, Tensor y);
Product linear_grad_input_product(Tensor dy, Tensor w, Tensor dx, float beta);
Product linear_grad_weight_product(Tensor dy, Tensor x, Tensor dw, float beta);

/// Of Ops::linear_cross_entropy: rows [first, first + rows) of N. The gradient's products are null without one.
struct CrossEntropyChunk {
  std::int64_t first = 0, rows = 0;
  Product logits, dx, dw;
};
/// The chunk that begins at `first`. args have been checked (check_cross_entropy).
CrossEntropyChunk cross_entropy_chunk(const Ops::CrossEntropy& args, std::int64_t first);

}  // namespace sherd
