#pragma once
// Checks of arguments that all backends share.
#include <initializer_list>

#include "sherd/base/tensor.hpp"

namespace sherd {

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

}  // namespace sherd
