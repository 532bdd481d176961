#pragma once
// Checks of arguments that all backends share: of one tensor, and of one op each. What only one backend demands (its
// workspace, its largest head) it checks itself. They stand in a source, which kernels then need not compile again.
#include <span>

#include "sherd/base/f8.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd {

/// t is `what`: a matrix of (rows, cols) and of this dtype, whatever its leading dims are.
void check_matrix(const char* what, const Tensor& t, std::int64_t rows, std::int64_t cols, DType dtype);
/// t has `count` contiguous elements of this dtype.
void check_flat(const char* what, const Tensor& t, std::int64_t count, DType dtype);
void check_act(const char* what, const Tensor& t);
/// A gradient of a parameter: f32, or the activation dtype.
void check_grad(const char* what, const Tensor& t, DType act);

// Per op, named after it; the arguments are the op's own.
void check_quantize(const Tensor& x, const Tensor& codes, const Tensor& transposed, const Tensor& scale, F8Scale how);
void check_embedding(const Tensor& tokens, const Tensor& table, const Tensor& out);
void check_embedding_grad(const Tensor& dout, const Tensor& tokens, const Tensor& dtable);
void check_rmsnorm(const Tensor& x, const Tensor& gain, const Tensor& y, const Tensor& rstd);
void check_rmsnorm_residual(const Tensor& x, const Tensor& branch, const Tensor& gain, const Tensor& sum,
                            const Tensor& y, const Tensor& rstd);
void check_rmsnorm_grad(const Tensor& dy, const Tensor& x, const Tensor& gain, const Tensor& rstd, const Tensor& dx,
                        const Tensor& dgain);
void check_rope_table(const Tensor& table);
void check_rope(const Tensor& qkv, const Tensor& doc_start, const Tensor& table, const Heads& heads);
void check_swiglu(const Tensor& gate_up, const Tensor& out);
void check_swiglu_grad(const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up);
void check_cross_entropy(const Ops::CrossEntropy& a);
void check_adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWScalars& scalars);
void check_split_master(const Tensor& from, const Tensor& high, const Tensor& rest);
void check_squared_norm(const Tensor& x, const Tensor& out);
void check_clip_factor(const Tensor& squares, const Tensor& norm, const Tensor& factor);
void check_fill(const Tensor& x);
void check_cast(const Tensor& from, const Tensor& to);
void check_add(const Tensor& from, const Tensor& to);
void check_scale(const Tensor& x, const Tensor& factor);
void check_upload(std::span<const std::byte> from, const Tensor& to);
void check_download(const Tensor& from, std::span<const std::byte> to);
void check_initialize(const Tensor& x);

/// fn(f8e4m3{}) or fn(f8e5m2{}).
template <class Fn>
void with_f8_type(DType dtype, Fn&& fn) {
  if (dtype == DType::f8e5m2) {
    fn(f8e5m2{});
  } else {
    fn(f8e4m3{});
  }
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
