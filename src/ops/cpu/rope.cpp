// Rotary embedding, Su et al., arXiv:2104.09864, in Hugging Face's half-rotation layout: the pair of element j < D/2 is
// element j + D/2. Frequencies theta^(-2 j / D), scaled by Llama 3.1's rule when asked.
#include <cmath>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "sherd/ops/check.hpp"
#include "sherd/ops/rope_frequency.hpp"

namespace sherd::cpu {
namespace {

/// turn (D/2, 2) = cos, sin; sign -1 rotates back.
template <class A>
void rotate_head(A* x, const float* turn, float sign, std::int64_t half) {
#pragma omp simd
  for (std::int64_t j = 0; j < half; ++j) {
    const float cos = turn[2 * j], sin = sign * turn[2 * j + 1];
    const float a = to_f32(x[j]), b = to_f32(x[j + half]);
    x[j] = from_f32<A>(a * cos - b * sin);
    x[j + half] = from_f32<A>(b * cos + a * sin);
  }
}

}  // namespace

void OpsImpl::rope_table(const RopeConfig& config, Tensor table, Stream& s) {
  check_rope_table(table);
  enqueue(s, "rope_table", access({}, {table}), [config, table] {
    const std::int64_t half = table.dim[1];
    float* out = table.ptr<float>();
    for_blocks(table.dim[0], 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = 0; j < half; ++j) {
        const double f = rope_frequency(config, j, half);
        for (std::int64_t p = begin; p < end; ++p) {
          out[(p * half + j) * 2] = static_cast<float>(std::cos(static_cast<double>(p) * f));
          out[(p * half + j) * 2 + 1] = static_cast<float>(std::sin(static_cast<double>(p) * f));
        }
      }
    });
  });
}

void OpsImpl::rope(Tensor qkv, Tensor doc_start, Tensor table, Heads heads, bool inverse, Stream& s) {
  check_rope(qkv, doc_start, table, heads);
  const std::int64_t half = heads.dim / 2, n = doc_start.numel(), t = doc_start.cols();
  enqueue(s, inverse ? "rope_inverse" : "rope", access({doc_start, table}, {qkv}), [=] {
    const std::int32_t* start = doc_start.ptr<std::int32_t>();
    const float* turns = table.ptr<float>();
    const float sign = inverse ? -1.0f : 1.0f;
    with_float_type(qkv.dtype, [&](auto type) {
      using A = decltype(type);
      const auto rows = rows_of<A>(qkv);
      for_blocks(n, 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t position = i % t - start[i];
          SHERD_CHECK(position >= 0 && position < table.dim[0], "position {} of a table of {}", position, table.dim[0]);
          for (std::int64_t h = 0; h < heads.query + heads.kv; ++h)
            rotate_head<A>(rows[i] + h * heads.dim, turns + position * heads.dim, sign, half);
        }
      });
    });
  });
}

}  // namespace sherd::cpu
