#pragma once
// Gemm: every matrix product of the backend, by cuBLASLt, which is loaded when the first Gemm is made, so that the
// program starts on machines without it.
#include <memory>
#include <vector>

#include "gemm_table.hpp"
#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// out (M, N) = op(a) op(b) + beta out, row-major, sums in f32 (no TF32). op transposes if asked: a is (M, K), or (K,
/// M) transposed; b is (K, N), or (N, K) transposed. a and b have one dtype, f32 or bf16; out has it too, or is f32.
/// Rows may have strides. With beta 0 out is not read.
struct Product {
  Tensor a, b, out;
  bool transpose_a = false, transpose_b = false;
  float beta = 0;
};

/// The shape of a product; throws if its operands do not fit each other. Reads no data and needs no library.
ProductKey key_of(const Product& product, const char* op);

class Gemm {
 public:
  /// `workspace`: device memory that belongs to products alone, 256-byte aligned, of the current device. Throws if the
  /// library is missing or too old: what was found, what is needed.
  explicit Gemm(Tensor workspace);
  ~Gemm();
  void multiply(const Product& product, const char* op, Stream& s);

  /// From now on products of these shapes run by these algorithms; one that the library refuses is logged and left to
  /// the library's own choice.
  void pin(GemmTable table);
  /// The shapes multiplied so far: what a search is worth for.
  std::vector<ProductKey> met() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sherd::cuda
