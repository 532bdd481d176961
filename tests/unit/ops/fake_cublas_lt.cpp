// The functions of cuBLASLt and of the CUDA runtime that Gemm and the search call, on the CPU. A product is computed
// from the descriptors alone, column-major, as the library's documentation has it.
#include "fake_cublas_lt.hpp"

#include <cuda_runtime.h>

#include <cstring>
#include <map>

#include "../../../src/ops/cuda/cublas_lt.hpp"
#include "../../../src/ops/cuda/gemm_plain.hpp"
#include "../../../src/ops/cuda/gemm_probe.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::ops_test {

FakeLibrary& fake() {
  static FakeLibrary library;
  return library;
}

namespace {

struct Desc {
  cublasComputeType_t compute;
  bool transpose_a = false, transpose_b = false;
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

float element(const void* data, const Layout& l, std::int64_t i, std::int64_t j) {
  const std::int64_t at = i + j * l.ld;
  if (l.type == CUDA_R_32F) return static_cast<const float*>(data)[at];
  return static_cast<float>(static_cast<const bf16*>(data)[at]);
}
void write(void* data, const Layout& l, std::int64_t i, std::int64_t j, float value) {
  const std::int64_t at = i + j * l.ld;
  if (l.type == CUDA_R_32F) {
    static_cast<float*>(data)[at] = value;
  } else {
    static_cast<bf16*>(data)[at] = bf16(value);
  }
}

cublasStatus_t matmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                      cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                      const void* c, cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                      const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t bytes, cudaStream_t) {
  const FakeAlgorithm how = unpack(*algo);
  if (how.fails || workspace == nullptr || how.workspace > bytes) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto& p = *reinterpret_cast<Desc*>(desc);
  const auto &la = *reinterpret_cast<Layout*>(a_layout), &lb = *reinterpret_cast<Layout*>(b_layout);
  const auto &lc = *reinterpret_cast<Layout*>(c_layout), &ld = *reinterpret_cast<Layout*>(d_layout);
  const std::int64_t k = p.transpose_a ? la.rows : la.cols;
  if ((p.transpose_a ? la.cols : la.rows) != ld.rows || (p.transpose_b ? lb.rows : lb.cols) != ld.cols ||
      (p.transpose_b ? lb.cols : lb.rows) != k || c != d || la.ld < la.rows || lb.ld < lb.rows || ld.ld < ld.rows)
    return CUBLAS_STATUS_INVALID_VALUE;
  const float times = *static_cast<const float*>(alpha), old = *static_cast<const float*>(beta);
  for (std::int64_t j = 0; j < ld.cols; ++j)
    for (std::int64_t i = 0; i < ld.rows; ++i) {
      double sum = 0;
      for (std::int64_t x = 0; x < k; ++x)
        sum += static_cast<double>(p.transpose_a ? element(a, la, x, i) : element(a, la, i, x)) *
               static_cast<double>(p.transpose_b ? element(b, lb, j, x) : element(b, lb, x, j));
      if (how.changes_bits) sum += static_cast<double>(fake().ran.size());
      write(d, ld, i, j, times * static_cast<float>(sum) + (old == 0 ? 0 : old * element(c, lc, i, j)));
    }
  fake().ran.push_back(how.id);
  fake().pedantic = p.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
  fake().microseconds += static_cast<double>(how.microseconds);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t heuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                         cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int count,
                         cublasLtMatmulHeuristicResult_t* results, int* returned) {
  ++fake().heuristics;
  *returned = 0;
  if (fake().algorithms.empty()) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const FakeAlgorithm& a : fake().algorithms) {
    if (*returned == count) break;
    results[(*returned)++] = {pack(a), a.workspace, CUBLAS_STATUS_SUCCESS, 1.0f, {}};
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
  std::int32_t op = 0;
  if (bytes != sizeof op) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&op, value, sizeof op);
  auto& p = *reinterpret_cast<Desc*>(desc);
  (attribute == CUBLASLT_MATMUL_DESC_TRANSA ? p.transpose_a : p.transpose_b) = op == CUBLAS_OP_T;
  return CUBLAS_STATUS_SUCCESS;
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
}  // namespace sherd::ops_test

namespace sherd::cuda {

using namespace sherd::ops_test;

const CublasLt& cublas_lt() {
  static const CublasLt library = {
      .get_version = []() -> std::size_t { return 130100; },
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

void multiply_plainly(const Product& p, const ProductKey& key, const char*, Stream&) {
  ++fake().plain;
  if (key.k != 0) return;
  for (std::int64_t i = 0; i < key.m; ++i)
    for (std::int64_t j = 0; j < key.n; ++j) p.out.ptr<float>()[i * key.out_stride + j] *= p.beta;
}

void fill_unevenly(Tensor t, Stream&) {
  std::memset(t.data, 0x3c, t.bytes());
}
void compare_bits(Tensor x, Tensor y, Tensor flag, Stream&) {
  if (std::memcmp(x.data, y.data, x.bytes()) != 0) *flag.ptr<std::int32_t>() = 1;
}

cudaStream_t native(sherd::Stream&) {
  return nullptr;
}
void ran(sherd::Stream&, const char*) {}
void cuda_check(cudaError_t rc, const char* call, std::source_location) {
  SHERD_CHECK(rc == cudaSuccess, "{}", call);
}

}  // namespace sherd::cuda

namespace {
std::map<cudaEvent_t, double>& recorded() {
  static std::map<cudaEvent_t, double> at;
  return at;
}
}  // namespace

extern "C" {
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(recorded().size() + 1);
  recorded()[*event] = 0;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  recorded()[event] = sherd::ops_test::fake().microseconds;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = static_cast<float>((recorded()[end] - recorded()[begin]) / 1000);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* facts, int) {
  *facts = {};
  std::strcpy(facts->name, "Fake 100");
  facts->major = 9;
  facts->multiProcessorCount = 132;
  return cudaSuccess;
}
}
