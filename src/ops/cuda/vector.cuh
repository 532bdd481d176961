#pragma once
// Elements as kernels see them: f32 and bf16, read and written 16 bytes at a time where rows allow it.
#include <cstdint>
#include <cstring>

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

/// The type by which so many bytes are one access: nvcc splits the stores of structs of elements as it sees fit.
template <std::size_t kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  using Type = std::uint16_t;
};
template <>
struct WordOf<4> {
  using Type = std::uint32_t;
};
template <>
struct WordOf<8> {
  using Type = uint2;
};
template <>
struct WordOf<16> {
  using Type = uint4;
};

template <int kN, class T>
__device__ inline Pack<T, kN> load(const T* from) {
  if constexpr (kN == 1) {
    return {{*from}};
  } else {
    const auto word = *reinterpret_cast<const typename WordOf<sizeof(T) * kN>::Type*>(from);
    Pack<T, kN> out;
    std::memcpy(static_cast<void*>(&out), &word, sizeof out);
    return out;
  }
}
template <int kN, class T>
__device__ inline void store(T* to, const Pack<T, kN>& value) {
  if constexpr (kN == 1) {
    *to = value.at[0];
  } else {
    typename WordOf<sizeof(T) * kN>::Type word;
    std::memcpy(static_cast<void*>(&word), &value, sizeof word);
    *reinterpret_cast<decltype(word)*>(to) = word;
  }
}

/// kN elements as f32, by as many accesses as they have 16 bytes, and the other way, rounded.
template <int kN, class T>
__device__ inline void load_f32(float (&out)[kN], const T* from) {
  constexpr int kPart = kN < kPackOf<T> ? kN : kPackOf<T>;
#pragma unroll
  for (int i = 0; i < kN; i += kPart) {
    const Pack<T, kPart> part = load<kPart>(from + i);
#pragma unroll
    for (int j = 0; j < kPart; ++j) out[i + j] = to_f32(part.at[j]);
  }
}
template <int kN, class T>
__device__ inline void store_f32(T* to, const float (&from)[kN]) {
  constexpr int kPart = kN < kPackOf<T> ? kN : kPackOf<T>;
#pragma unroll
  for (int i = 0; i < kN; i += kPart) {
    Pack<T, kPart> part;
#pragma unroll
    for (int j = 0; j < kPart; ++j) part.at[j] = from_f32<T>(from[i + j]);
    store<kPart>(to + i, part);
  }
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
