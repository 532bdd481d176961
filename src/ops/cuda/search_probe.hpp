#pragma once
// What a search of algorithms needs of kernels: operands as uneven as real ones, and how far apart two results are.
#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// t (n), contiguous, = numbers in (-1, 1), a function of their place.
void fill_unevenly(Tensor t, Stream& s);
/// flag (1) i32 = 1 if the bits of x and y, of one shape and contiguous, differ anywhere; else it is left as it is.
void compare_bits(Tensor x, Tensor y, Tensor flag, Stream& s);
/// sums (2, R) f32 = the sum of (x - y)^2 of each row, then that of y^2. x and y (R, C) have one shape and dtype, f32
/// or bf16; rows may have strides.
void sum_squares(Tensor x, Tensor y, Tensor sums, Stream& s);

}  // namespace sherd::cuda
