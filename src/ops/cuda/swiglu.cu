// SwiGLU, Shazeer, arXiv:2002.05202: out = silu(gate) up, silu(x) = x sigmoid(x). N rows, F columns.
// Bytes per element of out, in elements: forward 2 read, 1 written; backward 3 read, 2 written.
#include "elementwise.cuh"
#include "ops.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

__device__ inline float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/// Grid: threads over (row, pack of kN columns). Deterministic; no sums.
template <class A, int kN>
__global__ void swiglu_kernel(Rows<const A> gate_up, Rows<A> out, std::int64_t rows, std::int64_t f) {
  const std::int64_t packs_per_row = f / kN;
  for (std::int64_t i = global_thread(); i < rows * packs_per_row; i += grid_threads()) {
    const std::int64_t n = i / packs_per_row, c = i % packs_per_row * kN;
    const Pack<A, kN> gate = load<kN>(gate_up[n] + c), up = load<kN>(gate_up[n] + f + c);
    Pack<A, kN> to;
    for (int j = 0; j < kN; ++j) {
      const float g = to_f32(gate.at[j]);
      to.at[j] = from_f32<A>(g * sigmoid(g) * to_f32(up.at[j]));
    }
    store<kN>(out[n] + c, to);
  }
}

/// dgate = dout up s (1 + g (1 - s)), dup = dout g s. dgate_up may be gate_up: a thread reads what it writes, first.
template <class A, int kN>
__global__ void swiglu_grad_kernel(Rows<const A> dout, Rows<const A> gate_up, Rows<A> dgate_up, std::int64_t rows,
                                   std::int64_t f) {
  const std::int64_t packs_per_row = f / kN;
  for (std::int64_t i = global_thread(); i < rows * packs_per_row; i += grid_threads()) {
    const std::int64_t n = i / packs_per_row, c = i % packs_per_row * kN;
    const Pack<A, kN> gate = load<kN>(gate_up[n] + c), up = load<kN>(gate_up[n] + f + c), grad = load<kN>(dout[n] + c);
    Pack<A, kN> dgate, dup;
    for (int j = 0; j < kN; ++j) {
      const float g = to_f32(gate.at[j]), u = to_f32(up.at[j]), d = to_f32(grad.at[j]), sg = sigmoid(g);
      dgate.at[j] = from_f32<A>(d * u * sg * (1.0f + g * (1.0f - sg)));
      dup.at[j] = from_f32<A>(d * g * sg);
    }
    store<kN>(dgate_up[n] + c, dgate);
    store<kN>(dgate_up[n] + f + c, dup);
  }
}

}  // namespace

void OpsImpl::swiglu(Tensor gate_up, Tensor out, Stream& s) {
  check_swiglu(gate_up, out);
  with_float_type(out.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const std::int64_t n = out.rows(), f = out.cols();
    const bool fits = packs(gate_up) && packs(out);  // then F is whole packs, and so is the up half's offset
    launch(s, "swiglu", fits ? &swiglu_kernel<A, kN> : &swiglu_kernel<A, 1>, element_grid(n * f / (fits ? kN : 1)),
           rows_of<const A>(gate_up), rows_of<A>(out), n, f);
  });
}

void OpsImpl::swiglu_grad(Tensor dout, Tensor gate_up, Tensor dgate_up, Stream& s) {
  check_swiglu_grad(dout, gate_up, dgate_up);
  with_float_type(dout.dtype, [&](auto type) {
    using A = decltype(type);
    constexpr int kN = kPackOf<A>;
    const std::int64_t n = dout.rows(), f = dout.cols();
    const bool fits = packs(dout) && packs(gate_up) && packs(dgate_up);
    launch(s, "swiglu_grad", fits ? &swiglu_grad_kernel<A, kN> : &swiglu_grad_kernel<A, 1>,
           element_grid(n * f / (fits ? kN : 1)), rows_of<const A>(dout), rows_of<const A>(gate_up),
           rows_of<A>(dgate_up), n, f);
  });
}

}  // namespace sherd::cuda
