#pragma once
// One shape of product as cuBLASLt's descriptors. The library is column-major: a row-major matrix is to it its own
// transpose, so out^T = op(b)^T op(a)^T makes our b its A and our a its B.
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "cublas_lt.hpp"
#include "gemm.hpp"
#include "gemm_table.hpp"

namespace sherd::cuda {

/// The largest power of two, at most 256, that divides the address: what an algorithm may count on.
struct Alignment {
  std::uint32_t a = 0, b = 0, out = 0;
  auto operator<=>(const Alignment&) const = default;
};
Alignment alignment_of(const Product& product);

/// An algorithm and the workspace it needs.
struct Algorithm {
  cublasLtMatmulAlgo_t algo{};
  std::size_t workspace = 0;
};

class GemmProblem {
 public:
  explicit GemmProblem(const ProductKey& key);

  /// Of a product in eight bits: where the library finds the scales, which it asks for before it names an algorithm.
  /// The product that runs sets its own.
  void set_scales(const Product& product) const;

  /// At most `count` algorithms for pointers so aligned and a workspace of so many bytes, the best guess first; only
  /// such as sum in a fixed order and in f32. May be none.
  std::vector<Algorithm> candidates(cublasLtHandle_t handle, Alignment aligned, std::size_t workspace, int count) const;
  /// The algorithm of these bytes, if the library takes it for this problem and these pointers; else the reason.
  std::optional<Algorithm> restored(cublasLtHandle_t handle, const AlgorithmBytes& bytes, Alignment aligned,
                                    std::size_t workspace, std::string& reason) const;
  cublasStatus_t run(cublasLtHandle_t handle, const Algorithm& algorithm, const Product& product, Tensor workspace,
                     cudaStream_t stream) const;

 private:
  template <class T>
  struct Destroyer {
    cublasStatus_t (*destroy)(T);
    void operator()(T handle) const { destroy(handle); }
  };
  template <class T>
  using Handle = std::unique_ptr<std::remove_pointer_t<T>, Destroyer<T>>;

  Handle<cublasLtMatmulDesc_t> product_;
  Handle<cublasLtMatrixLayout_t> a_, b_, out_;  // of ours: a_ describes the library's B
};

}  // namespace sherd::cuda
