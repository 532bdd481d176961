#pragma once
// Products: which matrix products the ops are made of. Every backend computes these, and the plan counts them, so the
// shapes that are searched for fast algorithms before a run are the shapes that the run multiplies.
#include <compare>
#include <string>

#include "sherd/base/f8.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd {

/// out (M, N) = op(a) op(b) + beta out, row-major. op transposes if asked: a is (M, K), or (K, M) transposed; b is
/// (K, N), or (N, K) transposed. a and b have one dtype, f32 or bf16; out has it too, or is f32. Rows may have strides.
/// With beta 0 out is not read.
/// In eight bits op(a) op(b) is multiplied by both scales; see Ops::linear_f8. Only b is transposed, since Hopper's
/// tensor cores want both operands with K along the rows.
struct Product {
  Tensor a, b, out;
  bool transpose_a = false, transpose_b = false;
  float beta = 0;
  Tensor a_scale{}, b_scale{};  // (1) f32, in eight bits; else null
};

/// The shape of a product: all that the speed of an algorithm depends on, but for how round the addresses are.
struct ProductKey {
  DType in = DType::f32, out = DType::f32;  // in: of a
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t a_stride = 0, b_stride = 0, out_stride = 0;  // elements from a row of the stored matrix to the next
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;  // beta is not 0

  auto operator<=>(const ProductKey&) const = default;
  DType b_in() const { return is_f8(in) ? DType::f8e4m3 : in; }
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
Product linear_f8_product(Tensor a, Tensor a_scale, Tensor b, Tensor b_scale, Tensor out, float beta);

/// What tensor cores want of every dimension of a product in eight bits.
constexpr std::int64_t kF8Multiple = 16;
constexpr bool fits_f8(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m % kF8Multiple == 0 && n % kF8Multiple == 0 && k % kF8Multiple == 0;
}

/// Of Ops::linear_cross_entropy: rows [first, first + rows) of N. The gradient's products are null without one.
struct CrossEntropyChunk {
  std::int64_t first = 0, rows = 0;
  Product logits, dx, dw;
};
/// The chunk that begins at `first`. args have been checked (check_cross_entropy).
CrossEntropyChunk cross_entropy_chunk(const Ops::CrossEntropy& args, std::int64_t first);

}  // namespace sherd
