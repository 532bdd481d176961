#pragma once
// Checks of arguments that all backends share.
#include <span>

#include "sherd/ops/ops.hpp"

namespace sherd {

/// t is `what`: a matrix of (rows, cols) and of this dtype, whatever its leading dims are.
inline void check_matrix(const char* what, const Tensor& t, std::int64_t rows, std::int64_t cols, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.cols() == cols && (cols == 0 || t.rows() == rows),
              "{} is {}, expected {} ({}, {})", what, t.describe(), name_of(dtype), rows, cols);
}
/// t has `count` contiguous elements of this dtype.
inline void check_flat(const char* what, const Tensor& t, std::int64_t count, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.numel() == count && t.contiguous(), "{} is {}, expected {} ({}), contiguous",
              what, t.describe(), name_of(dtype), count);
}
inline void check_act(const char* what, const Tensor& t) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == DType::bf16), "{} is {}, expected f32 or bf16", what,
              t.describe());
}
/// A gradient of a parameter: f32, or the activation dtype.
inline void check_grad(const char* what, const Tensor& t, DType act) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == act), "{} is {}, expected f32 or {}", what, t.describe(),
              name_of(act));
}

inline void check_cross_entropy(const Ops::CrossEntropy& a) {
  const std::int64_t n = a.targets.numel(), v = a.w.rows(), c = a.w.cols(), chunk = a.logits.rows();
  const DType act = a.x.dtype;
  check_act("x", a.x);
  check_matrix("x", a.x, n, c, act);
  check_matrix("w", a.w, v, c, act);
  check_flat("targets", a.targets, n, DType::i32);
  check_matrix("logits", a.logits, chunk, v, DType::f32);
  check_flat("loss", a.loss, 1, DType::f32);
  SHERD_CHECK(chunk > 0 && bool(a.dx) == bool(a.dw), "chunks of {} rows; dx and dw are both given or both null", chunk);
  check_flat("divisor", a.divisor, 1, DType::f32);
  if (!a.dx) return;
  check_matrix("dlogits", a.dlogits, chunk, v, act);
  check_matrix("dx", a.dx, n, c, act);
  check_grad("dw", a.dw, act);
  check_matrix("dw", a.dw, v, c, a.dw.dtype);
}

inline void check_adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWScalars& scalars) {
  const std::int64_t n = state.master.numel();
  check_flat("master", state.master, n, DType::f32);
  check_flat("grad", state.grad, n, DType::f32);
  check_act("m", state.m);
  check_flat("m", state.m, n, state.m.dtype);
  check_flat("v", state.v, n, state.m.dtype);
  if (state.m.dtype == DType::bf16) check_flat("rounding key", scalars.rounding_key, 2, DType::i32);
  if (state.copy) check_flat("copy", state.copy, n, DType::bf16);
  for (const Tensor& t : {scalars.lr, scalars.correction1, scalars.correction2, scalars.clip})
    check_flat("scalar", t, 1, DType::f32);
  for (const DecayRun& run : runs)
    SHERD_CHECK(run.begin >= 0 && run.count >= 0 && run.begin + run.count <= n, "run {} + {} of {} elements", run.begin,
                run.count, n);
}

/// fn(float{}) or fn(bf16{}).
template <class Fn>
void with_float_type(DType dtype, Fn&& fn) {
  if (dtype == DType::bf16) {
    fn(bf16{});
  } else {
    fn(float{});
  }
}

}  // namespace sherd
