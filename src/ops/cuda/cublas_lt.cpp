// Finds cuBLASLt's functions in its shared library.
#include "cublas_lt.hpp"

#include "library.hpp"
#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

constexpr const char* kName = "libcublasLt.so.13";
static_assert(CUBLAS_VER_MAJOR == 13, "kName is that of CUDA 13");

template <class Function>
void find(void* library, Function& out, const char* name) {
  out = reinterpret_cast<Function>(function_of(library, kName, name));
}

CublasLt load() {
  std::string tried;
  void* library = open_library(kName, tried);
  if (library == nullptr) {
    throw usage_error(
        "--device cuda needs {} (CUDA 13), found nowhere; install it, or name its folder in "
        "LD_LIBRARY_PATH, CUDA_HOME or SHERD_CUDA_LIBRARIES. Tried:{}",
        kName, tried);
  }
  CublasLt out{};
  find(library, out.get_version, "cublasLtGetVersion");
  find(library, out.status_name, "cublasLtGetStatusName");
  find(library, out.create, "cublasLtCreate");
  find(library, out.destroy, "cublasLtDestroy");
  find(library, out.matmul, "cublasLtMatmul");
  find(library, out.desc_create, "cublasLtMatmulDescCreate");
  find(library, out.desc_destroy, "cublasLtMatmulDescDestroy");
  find(library, out.desc_set, "cublasLtMatmulDescSetAttribute");
  find(library, out.layout_create, "cublasLtMatrixLayoutCreate");
  find(library, out.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(library, out.preference_create, "cublasLtMatmulPreferenceCreate");
  find(library, out.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(library, out.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(library, out.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(library, out.algo_check, "cublasLtMatmulAlgoCheck");
  find(library, out.algo_config, "cublasLtMatmulAlgoConfigGetAttribute");
  find(library, out.algo_capability, "cublasLtMatmulAlgoCapGetAttribute");
  return out;
}

}  // namespace

const CublasLt& cublas_lt() {
  static const CublasLt library = load();
  return library;
}

}  // namespace sherd::cuda
