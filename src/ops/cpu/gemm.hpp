#pragma once
// c (M, N) = a (M, K) b (K, N) + beta c on oneDNN. The output is cut into blocks by its shape alone and each block is
// one library call on one thread, so that neither the number of threads nor the library's own splitting of K reaches a
// bit of the result, and its packing buffers stay below 1 MiB.
#include <cstdint>
#include <memory>

#include "sherd/ops/product.hpp"

namespace sherd::cpu {

/// A row-major matrix or its transpose: element (i, j) is data[i stride + j], transposed data[j stride + i].
struct Operand {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
  DType dtype = DType::f32;
  const float* scale = nullptr;  // of codes in eight bits
};

/// A Product as the library wants it.
struct RawProduct {
  std::int64_t m = 0, n = 0, k = 0;
  Operand a, b;
  std::byte* c = nullptr;
  std::int64_t c_stride = 0;
  DType out = DType::f32;
  float beta = 0;
};

/// How one product is cut: block (i, j) is rows [i rows, ...) and columns [j cols, ...).
struct Blocks {
  std::int64_t rows, cols, down, across;
};
Blocks cut(std::int64_t m, std::int64_t n);

/// Products of bf16 operands on a CPU that has bf16 dot products; elsewhere `available` is false.
class Bf16Products {
 public:
  Bf16Products();
  ~Bf16Products();
  bool available() const { return cache_ != nullptr; }
  void multiply(const RawProduct& p, const Blocks& blocks, Tensor workspace);

 private:
  struct Cache;
  std::unique_ptr<Cache> cache_;
};

class Gemm {
 public:
  /// `workspace` is scratch memory of kWorkspaceBytes (f32).
  explicit Gemm(Tensor workspace) : workspace_(workspace) {}
  /// Runs now, on the threads of the calling stream. `op` is named in errors.
  void multiply(const Product& product, const char* op);

 private:
  Tensor workspace_;
  Bf16Products bf16_;
};

}  // namespace sherd::cpu
