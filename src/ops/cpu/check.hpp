#pragma once
// Checks of arguments, and the step from a dtype to a type.
#include <array>
#include <initializer_list>
#include <type_traits>

#include "sherd/base/tensor.hpp"

namespace sherd::cpu {

/// t is `what`: a matrix of (rows, cols) and of this dtype, whatever its leading dims are.
inline void check_matrix(const char* what, const Tensor& t, std::int64_t rows, std::int64_t cols, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.cols() == cols && (cols == 0 || t.rows() == rows),
              "{} is {}, expected {} ({}, {})", what, t.describe(), name_of(dtype), rows, cols);
}
/// t has `count` contiguous elements of this dtype.
inline void check_flat(const char* what, const Tensor& t, std::int64_t count, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.numel() == count && t.contiguous(), "{} is {}, expected {} ({}), contiguous",
              what, t.describe(), name_of(dtype), count);
}
inline void check_act(const char* what, const Tensor& t) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == DType::bf16), "{} is {}, expected f32 or bf16", what,
              t.describe());
}
/// A gradient of a parameter: f32, or the activation dtype.
inline void check_grad(const char* what, const Tensor& t, DType act) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == act), "{} is {}, expected f32 or {}", what, t.describe(),
              name_of(act));
}

/// fn(float{}) or fn(bf16{}).
template <class Fn>
void with_float_type(DType dtype, Fn&& fn) {
  if (dtype == DType::bf16) {
    fn(bf16{});
  } else {
    fn(float{});
  }
}

/// A matrix as typed rows: what the kernels see of a Tensor.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;
  T* operator[](std::int64_t i) const { return data + i * stride; }
  explicit operator bool() const { return data != nullptr; }
};
template <class T>
Rows<T> rows_of(const Tensor& t) {
  return t ? Rows<T>{t.ptr<std::remove_const_t<T>>(), t.row_stride} : Rows<T>{};
}

}  // namespace sherd::cpu
