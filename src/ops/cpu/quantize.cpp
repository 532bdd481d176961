// Codes in eight bits with one scale (base/f8.hpp): the largest magnitude first, unless the scale is given, then each
// element by itself.
#include <algorithm>
#include <vector>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kRows = 16;  // of one piece, which lie side by side in the transposed codes

/// The bits, as f32, of the largest magnitude in x. As integers NaN is above infinity, and that above all else.
std::uint32_t largest_magnitude(const Tensor& x) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  std::vector<std::uint16_t> largest(static_cast<std::size_t>(div_up(rows, kRows)));
  for_blocks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    std::uint16_t most = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const bf16* const row = x.ptr<bf16>() + i * x.row_stride;
#pragma omp simd reduction(max : most)
      for (std::int64_t j = 0; j < cols; ++j) {
        const auto magnitude = static_cast<std::uint16_t>(row[j].bits & 0x7fffu);
        most = magnitude > most ? magnitude : most;
      }
    }
    largest[static_cast<std::size_t>(begin / kRows)] = most;
  });
  const auto most = std::max_element(largest.begin(), largest.end());
  return most == largest.end() ? 0 : static_cast<std::uint32_t>(*most) << 16;
}

template <class T>
void quantize_rows(const Tensor& x, const Tensor& codes, const Tensor& transposed, float scale) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  const float factor = 1.0f / scale;  // exact: a power of two, or NaN
  for_blocks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const bf16* const row = x.ptr<bf16>() + i * x.row_stride;
      if (codes) {
        T* const to = codes.ptr<T>() + i * cols;
#pragma omp simd
        for (std::int64_t j = 0; j < cols; ++j) to[j] = round_to_f8<T>(to_f32(row[j]) * factor);
      }
      if (transposed) {
        T* const to = transposed.ptr<T>() + i;
        for (std::int64_t j = 0; j < cols; ++j) to[j * rows] = round_to_f8<T>(to_f32(row[j]) * factor);
      }
    }
  });
}

}  // namespace

void OpsImpl::quantize(Tensor x, Tensor codes, Tensor transposed, Tensor scale, F8Scale how, Stream& s) {
  check_quantize(x, codes, transposed, scale, how);
  const bool find = how == F8Scale::find;
  const Tensor found = find ? scale : Tensor{}, given = find ? Tensor{} : scale;
  enqueue(s, "quantize", access({x, given}, {codes, transposed, found}), [=] {
    with_f8_type(codes ? codes.dtype : transposed.dtype, [&](auto type) {
      using T = decltype(type);
      if (found) *found.ptr<float>() = scale_for_f8<T>(largest_magnitude(x));
      quantize_rows<T>(x, codes, transposed, *scale.ptr<float>());
    });
  });
}

}  // namespace sherd::cpu
