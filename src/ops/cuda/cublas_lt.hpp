#pragma once
// cuBLASLt's functions as this backend calls them. The types are the header's; the functions are found at run time
// (cublas_lt.cpp), and tests put another file in that one's place.
#include <cublasLt.h>

#include <source_location>

namespace sherd::cuda {

struct CublasLt {
  decltype(&::cublasLtGetVersion) get_version;
  decltype(&::cublasLtGetStatusName) status_name;
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtDestroy) destroy;
  decltype(&::cublasLtMatmul) matmul;
  decltype(&::cublasLtMatmulDescCreate) desc_create;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&::cublasLtMatmulAlgoCheck) algo_check;
  decltype(&::cublasLtMatmulAlgoConfigGetAttribute) algo_config;
  decltype(&::cublasLtMatmulAlgoCapGetAttribute) algo_capability;
};

/// The library, opened by the first call. Throws if it is missing.
const CublasLt& cublas_lt();

/// Throws unless rc is CUBLAS_STATUS_SUCCESS: `call` failed with what.
void cublas_check(cublasStatus_t rc, const char* call, std::source_location at = std::source_location::current());

}  // namespace sherd::cuda
