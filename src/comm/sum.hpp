#pragma once
// Sums of received parts, always in fp32 (law 11), element by element: the same bits however the vector is chunked.
#include <cstddef>
#include <cstdint>

#include "sherd/base/dtype.hpp"

namespace sherd {

/// sum += part. part is f32 or bf16.
void add_part(float* sum, const std::byte* part, DType dtype, std::int64_t n);
/// sum = beta sum + own, beta 0 or 1: where a reduction starts. sum may be own.
void start_sum(float* sum, const std::byte* own, DType dtype, float beta, std::int64_t n);
/// sum = (beta sum + own) + part: the first two of them in one pass over memory, bit-equal to the calls above.
void start_sum_with(float* sum, const std::byte* own, const std::byte* part, DType dtype, float beta, std::int64_t n);

}  // namespace sherd
