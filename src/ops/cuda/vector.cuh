#pragma once
// Elements as kernels see them: f32 and bf16, read and written 16 bytes at a time where rows allow it.
#include <cstdint>

#include "ptx.cuh"
#include "sherd/base/tensor.hpp"

namespace sherd::cuda {

__device__ inline float to_f32(float x) {
  return x;
}
__device__ inline float to_f32(bf16 x) {
  return bf16_bits_to_f32(x.bits);
}

/// Rounded to nearest even.
template <class T>
__device__ inline T from_f32(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x;
  } else {
    T out;
    out.bits = f32_to_bf16_bits(x);
    return out;
  }
}

/// kN elements side by side, moved by one access.
template <class T, int kN>
struct alignas(sizeof(T) * kN) Pack {
  T at[kN];
};
template <class T>
constexpr int kPackOf = 16 / static_cast<int>(sizeof(T));

template <int kN, class T>
__device__ inline Pack<T, kN> load(const T* from) {
  return *reinterpret_cast<const Pack<T, kN>*>(from);
}
template <int kN, class T>
__device__ inline void store(T* to, const Pack<T, kN>& value) {
  *reinterpret_cast<Pack<T, kN>*>(to) = value;
}

/// Whether every row of t begins at a multiple of 16 bytes and has whole packs: whether packs may be used.
inline bool packs(const Tensor& t) {
  const auto bytes = static_cast<std::int64_t>(size_of(t.dtype));
  return !t || (reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0 && t.row_stride * bytes % 16 == 0 &&
                t.cols() * bytes % 16 == 0);
}

/// A matrix as typed rows: what a kernel sees of a Tensor. Trivially copyable.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;
  __device__ T* operator[](std::int64_t i) const { return data + i * stride; }
};
template <class T>
Rows<T> rows_of(const Tensor& t) {
  return t ? Rows<T>{reinterpret_cast<T*>(t.data), t.row_stride} : Rows<T>{};
}

}  // namespace sherd::cuda
