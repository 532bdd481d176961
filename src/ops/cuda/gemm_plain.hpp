#pragma once
// The product that needs no library: for the few shapes that cuBLASLt has no algorithm for, and for sums of nothing.
#include "gemm.hpp"

namespace sherd::cuda {

/// `key` is product's; m and n are not 0, k may be.
void multiply_plainly(const Product& product, const ProductKey& key, const char* op, Stream& s);

}  // namespace sherd::cuda
