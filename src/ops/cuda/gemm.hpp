#pragma once
// Gemm: every matrix product of the backend, by cuBLASLt, which is loaded when the first Gemm is made, so that the
// program starts on machines without it.
#include <memory>

#include "gemm_table.hpp"

namespace sherd::cuda {

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

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sherd::cuda
