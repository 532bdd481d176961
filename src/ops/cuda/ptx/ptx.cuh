#pragma once
// Instructions that C++ has no word for, one function each. tests/emulation has a header of the same name, which says
// in C++ what each of them does.
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "sherd/base/f8.hpp"

namespace sherd::cuda {

__device__ inline float bf16_bits_to_f32(std::uint16_t bits) {
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}
/// Rounded to nearest even.
__device__ inline std::uint16_t f32_to_bf16_bits(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
/// Two at once: `low` in bits 0 to 15, `high` above.
__device__ inline std::uint32_t f32x2_to_bf16x2_bits(float low, float high) {
  std::uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}
/// round_to_f8 of two at once: `low` in bits 0 to 7, `high` above. One instruction from sm_89 on.
template <class T>
__device__ inline std::uint16_t f32x2_to_f8x2(float low, float high) {
  constexpr __nv_fp8_interpretation_t kFormat = dtype_of<T> == DType::f8e4m3 ? __NV_E4M3 : __NV_E5M2;
  return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, kFormat);
}

/// 16 or 8 bytes of global memory, written by one instruction.
__device__ inline void store_at_once(void* to, uint4 x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(__cvta_generic_to_global(to)), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ inline void store_at_once(void* to, uint2 x) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" : : "l"(__cvta_generic_to_global(to)), "r"(x.x), "r"(x.y) : "memory");
}

/// 2^x to 2 ulp; 0 for -infinity.
__device__ inline float exp2_approx(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

/// 1 / x to 1 ulp; 0 for x from 2^126 on.
__device__ inline float reciprocal_approx(float x) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

/// The root of x to 1 ulp, of subnormal numbers, too.
__device__ inline float sqrt_approx(float x) {
  float out;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

/// d (16 x 8 f32) += a (16 x 16 bf16, row-major) b (16 x 8 bf16, column-major), by the lanes of a warp together. With
/// group = lane / 4 and pair = 2 (lane % 4), a lane holds (lower half of a register first)
///   a[0] = A(group, pair ..), a[1] = A(group + 8, pair ..), a[2] = A(group, pair + 8 ..), a[3] = A(group + 8, pair + 8
///   ..) b[0] = B(pair .., group), b[1] = B(pair + 8 .., group) d[0], d[1] = D(group, pair ..), d[2], d[3] = D(group +
///   8, pair ..)
__device__ inline void mma_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four 8 x 8 matrices of bf16 from shared memory: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes,
/// 16-byte aligned), and gets of matrix i, in out[i], the elements (l / 4, 2 (l % 4)) and the one after it.
__device__ inline void ldmatrix_x4(std::uint32_t (&out)[4], const void* row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}
/// The same of the transposed matrices: out[i] holds the elements (2 (l % 4), l / 4) and the one below it.
__device__ inline void ldmatrix_x4_transposed(std::uint32_t (&out)[4], const void* row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}

/// Copies 16 bytes of global memory to shared memory without waiting, or writes 16 zero bytes (then `from` is not
/// read).
__device__ inline void copy_16_async(void* shared, const void* from, bool valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory");
}
/// Closes the group of the copies since the last call.
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" : : : "memory");
}
/// Waits until at most kPending of this thread's groups are under way. Other threads see the bytes after
/// __syncthreads().
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

}  // namespace sherd::cuda
