#pragma once
// What the instructions of src/ops/cuda/ptx/ptx.cuh do, said in C++, for tests without a GPU.
#include <array>
#include <bit>
#include <cstring>

#include "cuda_runtime.h"
#include "sherd/base/f8.hpp"

namespace emulation {

/// A copy of copy_16_async, done when the thread waits for it and not before.
void copy_later(void* to, const void* from, bool valid);
void close_group();
void wait_groups(int pending);

inline float bf16_half(std::uint32_t pair, int half) {
  return std::bit_cast<float>((half == 0 ? pair << 16 : pair & 0xffff0000u));
}

}  // namespace emulation

namespace sherd::cuda {

inline float bf16_bits_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
inline std::uint16_t f32_to_bf16_bits(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // the instruction's NaN
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline std::uint32_t f32x2_to_bf16x2_bits(float low, float high) {
  return static_cast<std::uint32_t>(f32_to_bf16_bits(high)) << 16 | f32_to_bf16_bits(low);
}
template <class T>
std::uint16_t f32x2_to_f8x2(float low, float high) {
  return static_cast<std::uint16_t>(round_to_f8<T>(high).bits << 8 | round_to_f8<T>(low).bits);
}
inline float exp2_approx(float x) {
  return std::exp2(x);
}

inline float reciprocal_approx(float x) {
  return x >= 0x1p126f ? 0.0f : 1.0f / x;
}

inline void store_at_once(void* to, uint4 x) {
  std::memcpy(to, &x, sizeof x);
}
inline void store_at_once(void* to, uint2 x) {
  std::memcpy(to, &x, sizeof x);
}

inline float sqrt_approx(float x) {
  return std::sqrt(x);
}

inline void mma_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  const std::array<std::uint32_t, 6> mine{a[0], a[1], a[2], a[3], b[0], b[1]};
  const unsigned char* all = ::emulation::exchange(mine.data(), sizeof mine);
  const auto word = [all](int lane, int i) {
    std::uint32_t out;
    std::memcpy(&out, all + static_cast<std::size_t>(lane) * ::emulation::kSlot + static_cast<std::size_t>(i) * 4, 4);
    return out;
  };
  const int lane = ::emulation::lane(), group = lane / 4, pair = 2 * (lane % 4);
  for (int i = 0; i < 4; ++i) {
    const int low = i / 2, column = pair + i % 2;  // row group + 8 low
    float sum = 0;
    for (int k = 0; k < 16; ++k) {
      const std::uint32_t x = word(group * 4 + k % 8 / 2, low + 2 * (k / 8)),
                          y = word(column * 4 + k % 8 / 2, 4 + k / 8);
      sum += ::emulation::bf16_half(x, k % 2) * ::emulation::bf16_half(y, k % 2);
    }
    d[i] += sum;
  }
}

namespace detail {
/// A lane gives its row's 16 bytes, so that no lane sees what another writes after the load.
template <class Element>
void ldmatrix(std::uint32_t (&out)[4], const void* row, Element element) {
  const unsigned char* all = ::emulation::exchange(row, 16);
  const int lane = ::emulation::lane();
  const auto half = [all](int matrix, int r, int c) {
    std::uint16_t bits;
    std::memcpy(&bits,
                all + static_cast<std::size_t>(matrix * 8 + r) * ::emulation::kSlot + static_cast<std::size_t>(c) * 2,
                2);
    return static_cast<std::uint32_t>(bits);
  };
  for (int i = 0; i < 4; ++i) {
    const auto [r0, c0] = element(lane, 0);
    const auto [r1, c1] = element(lane, 1);
    out[i] = half(i, r0, c0) | half(i, r1, c1) << 16;
  }
}
}  // namespace detail

inline void ldmatrix_x4(std::uint32_t (&out)[4], const void* row) {
  detail::ldmatrix(out, row, [](int lane, int i) { return std::pair(lane / 4, 2 * (lane % 4) + i); });
}
inline void ldmatrix_x4_transposed(std::uint32_t (&out)[4], const void* row) {
  detail::ldmatrix(out, row, [](int lane, int i) { return std::pair(2 * (lane % 4) + i, lane / 4); });
}

inline void copy_16_async(void* shared, const void* from, bool valid) {
  ::emulation::copy_later(shared, from, valid);
}
inline void commit_copies() {
  ::emulation::close_group();
}
template <int kPending>
inline void wait_copies() {
  ::emulation::wait_groups(kPending);
}

}  // namespace sherd::cuda
