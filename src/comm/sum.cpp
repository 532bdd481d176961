#include "sum.hpp"

namespace sherd {
namespace {

/// `sum` may be one of the parts itself (never partly): the loops read an element before they write it.
template <class T>
void add(float* sum, const T* part, std::int64_t n) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) sum[i] += static_cast<float>(part[i]);
}

template <bool kAdd, class T>
void start(float* sum, const T* own, std::int64_t n) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) sum[i] = kAdd ? sum[i] + static_cast<float>(own[i]) : static_cast<float>(own[i]);
}

template <bool kAdd, class T>
void start_with(float* sum, const T* own, const T* part, std::int64_t n) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) {
    const float first = kAdd ? sum[i] + static_cast<float>(own[i]) : static_cast<float>(own[i]);
    sum[i] = first + static_cast<float>(part[i]);
  }
}

/// Calls fn with a null pointer of the element type.
template <class F>
void with_type(DType dtype, F&& fn) {
  if (dtype == DType::bf16)
    fn(static_cast<const bf16*>(nullptr));
  else
    fn(static_cast<const float*>(nullptr));
}

template <class T>
const T* elements(const std::byte* bytes, const T* /*type*/) {
  return reinterpret_cast<const T*>(bytes);
}

}  // namespace

void add_part(float* sum, const std::byte* part, DType dtype, std::int64_t n) {
  with_type(dtype, [&](auto type) { add(sum, elements(part, type), n); });
}

void start_sum(float* sum, const std::byte* own, DType dtype, float beta, std::int64_t n) {
  with_type(dtype, [&](auto type) {
    if (beta != 0.0f)
      start<true>(sum, elements(own, type), n);
    else if (static_cast<const void*>(sum) != own)
      start<false>(sum, elements(own, type), n);
  });
}

void start_sum_with(float* sum, const std::byte* own, const std::byte* part, DType dtype, float beta, std::int64_t n) {
  with_type(dtype, [&](auto type) {
    if (beta != 0.0f)
      start_with<true>(sum, elements(own, type), elements(part, type), n);
    else
      start_with<false>(sum, elements(own, type), elements(part, type), n);
  });
}

}  // namespace sherd
