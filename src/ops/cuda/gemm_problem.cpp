#include "gemm_problem.hpp"

#include <algorithm>

#include "sherd/base/narrow.hpp"

namespace sherd::cuda {
namespace {

cudaDataType_t library_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f8e4m3:
      return CUDA_R_8F_E4M3;
    case DType::f8e5m2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;
  }
}

/// A row-major (rows, cols) as the library sees it: column-major, (cols, rows).
cublasLtMatrixLayout_t layout(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  cublasLtMatrixLayout_t out = nullptr;
  cublas_check(cublas_lt().layout_create(&out, library_type(dtype), narrow<std::uint64_t>(cols),
                                         narrow<std::uint64_t>(rows), stride),
               "cublasLtMatrixLayoutCreate");
  return out;
}

/// Bytes that algorithms may count on: the address's, and no more than the tests of any algorithm ask for.
std::uint32_t alignment_of(const Tensor& t) {
  const auto address = reinterpret_cast<std::uintptr_t>(t.data) | 256;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  cublas_check(cublas_lt().preference_set(preference, attribute, &value, sizeof value),
               "cublasLtMatmulPreferenceSetAttribute");
}

std::uint32_t needed_alignment(const cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoCapAttributes_t attribute) {
  std::uint32_t value = 1;
  std::size_t written = 0;
  const cublasStatus_t rc = cublas_lt().algo_capability(&algo, attribute, &value, sizeof value, &written);
  return rc == CUBLAS_STATUS_SUCCESS ? value : 256;
}

/// Whether the parts of a sum that is split along k are kept in f32 and added in a step of their own. Without a split
/// there is one order anyway. "In place" adds into the output as blocks finish, and "output type" rounds parts to bf16:
/// neither is for us.
bool sums_in_fixed_order(const cublasLtMatmulAlgo_t& algo) {
  std::uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
  std::size_t written = 0;
  cublas_lt().algo_config(&algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme, &written);
  return scheme == CUBLASLT_REDUCTION_SCHEME_NONE || scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
}

}  // namespace

void cublas_check(cublasStatus_t rc, const char* call, std::source_location at) {
  if (rc == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ExitCode::internal,
              fmt::format("{} failed: {} (cuBLASLt {})", call, cublas_lt().status_name(rc), cublas_lt().get_version()),
              at);
}

Alignment alignment_of(const Product& product) {
  return {alignment_of(product.a), alignment_of(product.b), alignment_of(product.out)};
}

// f32 is computed "pedantically": standard arithmetic in exactly this format, says cublas_api.h. So neither TF32 nor
// sums of bf16 parts come in, whatever environment variables ask for. bf16 operands are exact in the tensor cores,
// which CUBLAS_COMPUTE_32F makes add in f32. Eight bits: without "fast accumulation", which leaves the sum in the
// tensor cores' narrower registers from end to end; with it off the sums move to f32 every few steps (cublasLt.h). The
// speed that costs is unmeasured; what is added up in less than f32 the CPU's loss curves would say nothing about.
GemmProblem::GemmProblem(const ProductKey& key) {
  const CublasLt& lt = cublas_lt();
  cublasLtMatmulDesc_t product = nullptr;
  const cublasComputeType_t compute = key.in == DType::f32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
  cublas_check(lt.desc_create(&product, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
  product_ = Handle<cublasLtMatmulDesc_t>(product, {lt.desc_destroy});
  const auto transpose = [&](cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const std::int32_t op = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublas_check(lt.desc_set(product, attribute, &op, sizeof op), "cublasLtMatmulDescSetAttribute");
  };
  transpose(CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b);
  transpose(CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a);
  if (is_f8(key.in)) {
    const std::int8_t off = 0;
    cublas_check(lt.desc_set(product, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &off, sizeof off),
                 "cublasLtMatmulDescSetAttribute");
  }
  const auto stored = [&](DType dtype, bool transposed, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
    cublasLtMatrixLayout_t made = transposed ? layout(dtype, cols, rows, stride) : layout(dtype, rows, cols, stride);
    return Handle<cublasLtMatrixLayout_t>(made, {lt.layout_destroy});
  };
  a_ = stored(key.in, key.transpose_a, key.m, key.k, key.a_stride);
  b_ = stored(key.b_in(), key.transpose_b, key.k, key.n, key.b_stride);
  out_ = Handle<cublasLtMatrixLayout_t>(layout(key.out, key.m, key.n, key.out_stride), {lt.layout_destroy});
}

void GemmProblem::set_scales(const Product& product) const {
  if (!product.a_scale) return;
  const auto set_one = [&](cublasLtMatmulDescAttributes_t attribute, const Tensor& scale) {
    const void* at = scale.data;
    cublas_check(cublas_lt().desc_set(product_.get(), attribute, &at, sizeof at), "cublasLtMatmulDescSetAttribute");
  };
  set_one(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, product.b_scale);
  set_one(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, product.a_scale);
}

// What makes the bits equal from run to run: NVIDIA's "Results reproducibility" (cuBLAS, 2.1.4) promises it for one
// version, architecture and number of multiprocessors, with cublasLtMatmul and a workspace that belongs to the caller
// and to one stream. The mask keeps out reductions that round or order their parts otherwise (see above).
std::vector<Algorithm> GemmProblem::candidates(cublasLtHandle_t handle, Alignment aligned, std::size_t workspace,
                                               int count) const {
  const CublasLt& lt = cublas_lt();
  cublasLtMatmulPreference_t made = nullptr;
  cublas_check(lt.preference_create(&made), "cublasLtMatmulPreferenceCreate");
  const Handle<cublasLtMatmulPreference_t> preference(made, {lt.preference_destroy});
  set<std::uint64_t>(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  set<std::uint32_t>(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  set<std::uint32_t>(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, aligned.b);
  set<std::uint32_t>(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, aligned.a);
  set<std::uint32_t>(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, aligned.out);
  set<std::uint32_t>(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, aligned.out);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(count));
  int returned = 0;
  const cublasStatus_t rc = lt.heuristic(handle, product_.get(), b_.get(), a_.get(), out_.get(), out_.get(), made,
                                         count, found.data(), &returned);
  if (rc != CUBLAS_STATUS_NOT_SUPPORTED) cublas_check(rc, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<Algorithm> out;
  for (int i = 0; i < returned && rc == CUBLAS_STATUS_SUCCESS; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = found[static_cast<std::size_t>(i)];
    if (result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace && sums_in_fixed_order(result.algo))
      out.push_back({result.algo, result.workspaceSize});
  }
  return out;
}

std::optional<Algorithm> GemmProblem::restored(cublasLtHandle_t handle, const AlgorithmBytes& bytes, Alignment aligned,
                                               std::size_t workspace, std::string& reason) const {
  static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof bytes);
  Algorithm out;
  std::copy(bytes.begin(), bytes.end(), out.algo.data);
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t rc =
      cublas_lt().algo_check(handle, product_.get(), b_.get(), a_.get(), out_.get(), out_.get(), &out.algo, &result);
  out.workspace = result.workspaceSize;
  if (rc != CUBLAS_STATUS_SUCCESS) {
    reason = cublas_lt().status_name(rc);
  } else if (out.workspace > workspace) {
    reason = fmt::format("it needs a workspace of {} bytes, there are {}", out.workspace, workspace);
  } else if (!sums_in_fixed_order(out.algo)) {
    reason = "its sums have no fixed order";
  } else if (needed_alignment(out.algo, CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_A_BYTES) > aligned.b ||
             needed_alignment(out.algo, CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_B_BYTES) > aligned.a ||
             needed_alignment(out.algo, CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_D_BYTES) > aligned.out) {
    reason = fmt::format("it needs operands at rounder addresses than {}, {}, {}", aligned.a, aligned.b, aligned.out);
  } else {
    return out;
  }
  return std::nullopt;
}

cublasStatus_t GemmProblem::run(cublasLtHandle_t handle, const Algorithm& algorithm, const Product& product,
                                Tensor workspace, cudaStream_t stream) const {
  const float alpha = 1;
  set_scales(product);
  return cublas_lt().matmul(handle, product_.get(), &alpha, product.b.data, b_.get(), product.a.data, a_.get(),
                            &product.beta, product.out.data, out_.get(), product.out.data, out_.get(), &algorithm.algo,
                            workspace.data, workspace.bytes(), stream);
}

}  // namespace sherd::cuda
