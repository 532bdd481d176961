// The functions of cuBLASLt that Gemm and the search call. A product is computed from the descriptors alone,
// column-major, as the library's documentation has it, by a kernel of one thread.
#include "fake_cublas_lt.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../../src/ops/cuda/cublas_lt.hpp"
#include "fibers.hpp"
#include "sherd/base/f8.hpp"

namespace emulation {

FakeLibrary& fake() {
  static FakeLibrary library;
  return library;
}

namespace {

struct Desc {
  cublasComputeType_t compute;
  bool transpose_a = false, transpose_b = false;
  const void *a_scale = nullptr, *b_scale = nullptr;
  std::int8_t fast_accumulation = 0;
};
struct Layout {
  cudaDataType_t type;
  std::int64_t rows, cols, ld;
};

FakeAlgorithm unpack(const cublasLtMatmulAlgo_t& algo) {
  return {algo.data[0],           algo.data[1], algo.data[2], algo.data[3], algo.data[4], (algo.data[5] & 1) != 0,
          (algo.data[5] & 2) != 0};
}
cublasLtMatmulAlgo_t pack(const FakeAlgorithm& a) {
  return {{a.id, a.scheme, a.alignment, a.workspace, a.microseconds,
           static_cast<std::uint64_t>(a.changes_bits ? 1 : 0) + (a.fails ? 2 : 0), 0, 0}};
}

float element(const void* data, cudaDataType_t type, std::int64_t at) {
  switch (type) {
    case CUDA_R_32F:
      return static_cast<const float*>(data)[at];
    case CUDA_R_16BF:
      return static_cast<float>(static_cast<const sherd::bf16*>(data)[at]);
    case CUDA_R_8F_E4M3:
      return sherd::value_of_f8(static_cast<const sherd::f8e4m3*>(data)[at]);
    case CUDA_R_8F_E5M2:
      return sherd::value_of_f8(static_cast<const sherd::f8e5m2*>(data)[at]);
  }
  return 0;
}

/// op(x) (rows, cols) as plain numbers, row after row; x is column-major.
std::vector<float> plain(const void* data, const Layout& l, bool transpose) {
  std::vector<float> out(static_cast<std::size_t>(l.rows * l.cols));
  for (std::int64_t j = 0; j < l.cols; ++j)
    for (std::int64_t i = 0; i < l.rows; ++i) {
      const float value = element(data, l.type, i + j * l.ld);
      out[static_cast<std::size_t>(transpose ? j * l.rows + i : i * l.cols + j)] = value;
    }
  return out;
}

struct Call {
  bool transpose_a, transpose_b;
  Layout a_layout, b_layout, d_layout;
  const void *a, *b;
  void* d;
  std::int64_t k;
  float alpha, beta;
  double error;                   // added to every sum
  const void *a_scale, *b_scale;  // of codes in eight bits; else null
};

/// d = alpha a_scale b_scale op(a) op(b) + beta d, sums in f64. The outer loop runs over d's columns, which lie one
/// after the other.
void multiply(const Call& c) {
  const std::vector<float> left = plain(c.a, c.a_layout, !c.transpose_a);   // (k, rows)
  const std::vector<float> right = plain(c.b, c.b_layout, !c.transpose_b);  // (cols, k)
  const Layout& l = c.d_layout;
  const float alpha = c.a_scale == nullptr
                          ? c.alpha
                          : c.alpha * *static_cast<const float*>(c.a_scale) * *static_cast<const float*>(c.b_scale);
  std::vector<double> column(static_cast<std::size_t>(l.rows));
  for (std::int64_t j = 0; j < l.cols; ++j) {
    std::ranges::fill(column, c.error);
    for (std::int64_t x = 0; x < c.k; ++x) {
      const double times = right[static_cast<std::size_t>(j * c.k + x)];
      const float* const from = left.data() + x * l.rows;
      for (std::int64_t i = 0; i < l.rows; ++i) column[static_cast<std::size_t>(i)] += times * from[i];
    }
    const auto store = [&]<class T>(T* out) {
      for (std::int64_t i = 0; i < l.rows; ++i) {
        const float sum = alpha * static_cast<float>(column[static_cast<std::size_t>(i)]);
        out[i] = T(sum + (c.beta == 0 ? 0 : c.beta * static_cast<float>(out[i])));
      }
    };
    l.type == CUDA_R_32F ? store(static_cast<float*>(c.d) + j * l.ld)
                         : store(static_cast<sherd::bf16*>(c.d) + j * l.ld);
  }
}

bool is_eight_bits(cudaDataType_t type) {
  return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2;
}

/// What the library demands of products in eight bits on Hopper ("cublasLtMatmul", cuBLAS 13): A transposed and B not,
/// not both e5m2, dims and strides of whole
/// 16 bytes, f32 or bf16 out. A scale that is missing is 1 to the library, and a mistake of ours.
bool takes_eight_bits(const Desc& p, const Layout& a, const Layout& b, const Layout& d) {
  if (!is_eight_bits(a.type) && !is_eight_bits(b.type)) return p.a_scale == nullptr && p.b_scale == nullptr;
  bool takes = is_eight_bits(a.type) && is_eight_bits(b.type) && !is_eight_bits(d.type) && p.transpose_a &&
               !p.transpose_b && p.a_scale != nullptr && p.b_scale != nullptr &&
               (a.type == CUDA_R_8F_E4M3 || b.type == CUDA_R_8F_E4M3);
  for (const Layout& l : {a, b, d}) takes = takes && l.rows % 16 == 0 && l.cols % 16 == 0 && l.ld % 16 == 0;
  return takes && p.fast_accumulation == 0;
}

cublasStatus_t matmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                      cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                      const void* c, cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                      const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t bytes, cudaStream_t stream) {
  const FakeAlgorithm how = unpack(*algo);
  if (how.fails || workspace == nullptr || how.workspace > bytes) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto& p = *reinterpret_cast<Desc*>(desc);
  const auto &la = *reinterpret_cast<Layout*>(a_layout), &lb = *reinterpret_cast<Layout*>(b_layout);
  const auto& ld = *reinterpret_cast<Layout*>(d_layout);
  const std::int64_t k = p.transpose_a ? la.rows : la.cols;
  if ((p.transpose_a ? la.cols : la.rows) != ld.rows || (p.transpose_b ? lb.rows : lb.cols) != ld.cols ||
      (p.transpose_b ? lb.cols : lb.rows) != k || c != d || la.ld < la.rows || lb.ld < lb.rows || ld.ld < ld.rows)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p.compute == CUBLAS_COMPUTE_32F_PEDANTIC && la.type != CUDA_R_32F) return CUBLAS_STATUS_INVALID_VALUE;
  if (!takes_eight_bits(p, la, lb, ld)) return CUBLAS_STATUS_INVALID_VALUE;
  const std::uint64_t alignment = is_eight_bits(la.type) ? std::max<std::uint64_t>(16, how.alignment) : how.alignment;
  for (const void* at : {a, b, static_cast<const void*>(d)})
    if (reinterpret_cast<std::uintptr_t>(at) % alignment != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Call call{p.transpose_a,
                  p.transpose_b,
                  la,
                  lb,
                  ld,
                  a,
                  b,
                  d,
                  k,
                  *static_cast<const float*>(alpha),
                  *static_cast<const float*>(beta),
                  how.changes_bits ? static_cast<double>(fake().ran.size()) : 0.0,
                  p.a_scale,
                  p.b_scale};
  fake().in_eight_bits += is_eight_bits(la.type) ? 1 : 0;
  fake().ran.push_back(how.id);
  fake().pedantic = p.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
  cudaLaunchConfig_t config;
  config.stream = stream;
  const cudaError_t rc = launch(config, nullptr, [call, how] {
    multiply(call);
    take_time(static_cast<double>(how.microseconds));
  });
  return rc == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t heuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                         cublasLtMatmulPreference_t, int count, cublasLtMatmulHeuristicResult_t* results,
                         int* returned) {
  ++fake().heuristics;
  *returned = 0;
  const bool takes = takes_eight_bits(*reinterpret_cast<Desc*>(desc), *reinterpret_cast<Layout*>(a),
                                      *reinterpret_cast<Layout*>(b), *reinterpret_cast<Layout*>(d));
  const bool round = !is_eight_bits(reinterpret_cast<Layout*>(a)->type) ||
                     std::ranges::all_of(fake().alignments, [](std::uint32_t bytes) { return bytes >= 16; });
  if (fake().algorithms.empty() || !takes || !round) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const FakeAlgorithm& made : fake().algorithms) {
    if (*returned == count) break;
    results[(*returned)++] = {pack(made), made.workspace, CUBLAS_STATUS_SUCCESS, 1.0f, {}};
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algo,
                     cublasLtMatmulHeuristicResult_t* result) {
  const FakeAlgorithm a = unpack(*algo);
  *result = {*algo, a.workspace, CUBLAS_STATUS_SUCCESS, 1.0f, {}};
  return a.id == 0 ? CUBLAS_STATUS_ARCH_MISMATCH : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t desc_set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void* value,
                        std::size_t bytes) {
  auto& p = *reinterpret_cast<Desc*>(desc);
  const auto take = [&](auto& to) {
    if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, sizeof to);
    return CUBLAS_STATUS_SUCCESS;
  };
  if (attribute == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER) return take(p.a_scale);
  if (attribute == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER) return take(p.b_scale);
  if (attribute == CUBLASLT_MATMUL_DESC_FAST_ACCUM) return take(p.fast_accumulation);
  std::int32_t op = 0;
  const cublasStatus_t rc = take(op);
  (attribute == CUBLASLT_MATMUL_DESC_TRANSA ? p.transpose_a : p.transpose_b) = op == CUBLAS_OP_T;
  return rc;
}

cublasStatus_t preference_set(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t attribute,
                              const void* value, std::size_t bytes) {
  const bool is_alignment = attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
                            attribute <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES;
  if (!is_alignment) return CUBLAS_STATUS_SUCCESS;
  if (bytes != sizeof(std::uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) fake().alignments.clear();
  std::uint32_t alignment = 0;
  std::memcpy(&alignment, value, bytes);
  fake().alignments.push_back(alignment);
  return CUBLAS_STATUS_SUCCESS;
}

template <class Handle, class T>
cublasStatus_t release(Handle handle) {
  delete reinterpret_cast<T*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace
}  // namespace emulation

namespace sherd::cuda {

using namespace emulation;

const CublasLt& cublas_lt() {
  static const CublasLt library = {
      .get_version = []() -> std::size_t {
        const char* version = std::getenv("EMULATED_CUBLASLT_VERSION");
        return version ? std::strtoul(version, nullptr, 10) : CUBLAS_VERSION;
      },
      .status_name = [](cublasStatus_t rc) { return rc == CUBLAS_STATUS_ARCH_MISMATCH ? "ARCH_MISMATCH" : "OTHER"; },
      .create = [](cublasLtHandle_t* out) { return *out = nullptr, CUBLAS_STATUS_SUCCESS; },
      .destroy = [](cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; },
      .matmul = matmul,
      .desc_create =
          [](cublasLtMatmulDesc_t* out, cublasComputeType_t compute, cudaDataType_t) {
            return *out = reinterpret_cast<cublasLtMatmulDesc_t>(new Desc{compute}), CUBLAS_STATUS_SUCCESS;
          },
      .desc_destroy = release<cublasLtMatmulDesc_t, Desc>,
      .desc_set = desc_set,
      .layout_create =
          [](cublasLtMatrixLayout_t* out, cudaDataType_t type, std::uint64_t rows, std::uint64_t cols,
             std::int64_t ld) {
            auto* made = new Layout{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), ld};
            return *out = reinterpret_cast<cublasLtMatrixLayout_t>(made), CUBLAS_STATUS_SUCCESS;
          },
      .layout_destroy = release<cublasLtMatrixLayout_t, Layout>,
      .preference_create =
          [](cublasLtMatmulPreference_t* out) {
            return *out = reinterpret_cast<cublasLtMatmulPreference_t>(new int), CUBLAS_STATUS_SUCCESS;
          },
      .preference_destroy = release<cublasLtMatmulPreference_t, int>,
      .preference_set = preference_set,
      .heuristic = heuristic,
      .algo_check = check,
      .algo_config = [](const cublasLtMatmulAlgo_t* algo, cublasLtMatmulAlgoConfigAttributes_t, void* out,
                        std::size_t bytes,
                        std::size_t*) { return std::memcpy(out, &algo->data[1], bytes), CUBLAS_STATUS_SUCCESS; },
      .algo_capability = [](const cublasLtMatmulAlgo_t* algo, cublasLtMatmulAlgoCapAttributes_t, void* out,
                            std::size_t bytes,
                            std::size_t*) { return std::memcpy(out, &algo->data[2], bytes), CUBLAS_STATUS_SUCCESS; }};
  return library;
}

}  // namespace sherd::cuda
