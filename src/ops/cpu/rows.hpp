#pragma once
// A matrix as typed rows: what the CPU's kernels see of a Tensor.
#include <type_traits>

#include "sherd/base/tensor.hpp"

namespace sherd::cpu {

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
