// SwiGLU, Shazeer, arXiv:2002.05202: out = silu(gate) up, silu(x) = x sigmoid(x). N rows, F columns.
#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kRows = 4;  // rows of one piece

template <class A>
void forward_row(const A* gate, const A* up, A* out, std::int64_t f) {
#pragma omp simd
  for (std::int64_t i = 0; i < f; ++i) {
    const float g = to_f32(gate[i]);
    out[i] = from_f32<A>(g * sigmoid(g) * to_f32(up[i]));
  }
}

/// dgate = dout up s (1 + g (1 - s)), dup = dout g s. (dgate, dup) may be (gate, up).
template <class A>
void backward_row(const A* dout, const A* gate, const A* up, A* dgate, A* dup, std::int64_t f) {
#pragma omp simd
  for (std::int64_t i = 0; i < f; ++i) {
    const float g = to_f32(gate[i]), u = to_f32(up[i]), d = to_f32(dout[i]);
    const float s = sigmoid(g);
    dgate[i] = from_f32<A>(d * u * s * (1.0f + g * (1.0f - s)));
    dup[i] = from_f32<A>(d * g * s);
  }
}

}  // namespace

void OpsImpl::swiglu(Tensor gate_up, Tensor out, Stream& s) {
  check_swiglu(gate_up, out);
  enqueue(s, "swiglu", access({gate_up}, {out}), [gate_up, out] {
    with_float_type(out.dtype, [&](auto type) {
      using A = decltype(type);
      const auto in = rows_of<const A>(gate_up);
      const auto to = rows_of<A>(out);
      const std::int64_t f = out.cols();
      for_blocks(out.rows(), kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = begin; n < end; ++n) forward_row<A>(in[n], in[n] + f, to[n], f);
      });
    });
  });
}

void OpsImpl::swiglu_grad(Tensor dout, Tensor gate_up, Tensor dgate_up, Stream& s) {
  check_swiglu_grad(dout, gate_up, dgate_up);
  enqueue(s, "swiglu_grad", access({dout, gate_up}, {dgate_up}), [dout, gate_up, dgate_up] {
    with_float_type(dout.dtype, [&](auto type) {
      using A = decltype(type);
      const auto grad = rows_of<const A>(dout);
      const auto in = rows_of<const A>(gate_up);
      const auto to = rows_of<A>(dgate_up);
      const std::int64_t f = dout.cols();
      for_blocks(dout.rows(), kRows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = begin; n < end; ++n) backward_row<A>(grad[n], in[n], in[n] + f, to[n], to[n] + f, f);
      });
    });
  });
}

}  // namespace sherd::cpu
