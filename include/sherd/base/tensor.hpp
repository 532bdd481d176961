#pragma once
// Tensor: a non-owning view. Memory belongs to an Arena; a Tensor never allocates and never frees.
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "sherd/base/dtype.hpp"
#include "sherd/base/error.hpp"

namespace sherd {

/// Row-major, rank <= 4, trivially copyable: pass by value. Contiguous, but for one stride: consecutive rows (the last
/// dim is a row; all leading dims count rows) lie row_stride elements apart, so that a column slice of a fused product
/// is a Tensor too.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::f32;
  std::uint8_t rank = 0;
  std::array<std::int64_t, 4> dim{};
  std::int64_t row_stride = 0;  // in elements; equals the last dim when contiguous

  static Tensor make(void* data, DType dtype, std::initializer_list<std::int64_t> shape);
  static Tensor make(void* data, DType dtype, std::span<const std::int64_t> shape);

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dim[static_cast<std::size_t>(i)];
    return n;
  }
  std::int64_t cols() const { return rank == 0 ? 1 : dim[rank - 1u]; }
  std::int64_t rows() const { return cols() == 0 ? 0 : numel() / cols(); }
  bool contiguous() const { return rows() <= 1 || row_stride == cols(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype); }  // of the elements
  /// Bytes from the first element to the end of the last: the range that a reader of this view touches.
  std::size_t extent() const;
  explicit operator bool() const { return data != nullptr; }

  /// The elements of a contiguous tensor; T must match dtype.
  template <class T>
  std::span<T> as() const {
    SHERD_CHECK(dtype_of<T> == dtype && contiguous(), "as<{}>() of {}", name_of(dtype_of<T>), describe());
    return {reinterpret_cast<T*>(data), static_cast<std::size_t>(numel())};
  }
  template <class T>
  T* ptr() const {
    SHERD_CHECK(dtype_of<T> == dtype, "ptr<{}>() of {}", name_of(dtype_of<T>), describe());
    return reinterpret_cast<T*>(data);
  }

  Tensor flat(std::int64_t first, std::int64_t count) const;     // (count) of a contiguous tensor
  Tensor view(std::initializer_list<std::int64_t> shape) const;  // same elements, another shape
  Tensor view(std::span<const std::int64_t> shape) const;
  Tensor row_range(std::int64_t first, std::int64_t count) const;  // (count, C) of a matrix (R, C)
  Tensor col_range(std::int64_t first, std::int64_t count) const;  // (..., count), keeps the row stride
  std::string describe() const;                                    // "bf16 (4, 512, 576)"
};

}  // namespace sherd
