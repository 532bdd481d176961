#pragma once
// Gemm: every matrix product of the backend, by cuBLASLt, which is loaded when the first Gemm is made, so that the
// program starts on machines without it.
#include <memory>

#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// out (M, N) = op(a) op(b) + beta out, row-major, sums in f32 (no TF32). op transposes if asked: a is (M, K), or (K, M)
/// transposed; b is (K, N), or (N, K) transposed. a and b have one dtype, f32 or bf16; out has it too, or is f32. Rows may
/// have strides.
struct Product {
  Tensor a, b, out;
  bool transpose_a = false, transpose_b = false;
  float beta = 0;
};

class Gemm {
 public:
  /// `workspace`: device memory that belongs to products alone. Throws if the library is missing or too old: what was
  /// found, what is needed.
  explicit Gemm(Tensor workspace);
  ~Gemm();
  void multiply(const Product& product, const char* op, Stream& s);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sherd::cuda
