#include "sherd/ops/check.hpp"

#include <tuple>

#include "sherd/base/narrow.hpp"
#include "sherd/ops/eight_bit.hpp"
#include "sherd/ops/product.hpp"

namespace sherd {
namespace {

void check_plain(const char* op, const Tensor& t) {
  SHERD_CHECK(t && t.contiguous(), "{} of {}: expected a contiguous tensor", op, t.describe());
}

void check_moments(const AdamWState& state, std::int64_t n) {
  SHERD_CHECK(state.m && (state.m.dtype == DType::f32 || state.m.dtype == DType::bf16 || state.m.dtype == DType::u8),
              "m is {}, expected f32, bf16 or u8", state.m.describe());
  check_flat("m", state.m, n, state.m.dtype);
  check_flat("v", state.v, n, state.m.dtype);
  if (state.m.dtype != DType::u8) return;
  check_flat("scales", state.scales, 2 * div_up(n, kMomentBlock), DType::f32);
  SHERD_CHECK(reinterpret_cast<std::uintptr_t>(state.scales.data) % 8 == 0, "scales begin at no multiple of 8 bytes");
}

}  // namespace

void check_matrix(const char* what, const Tensor& t, std::int64_t rows, std::int64_t cols, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.cols() == cols && (cols == 0 || t.rows() == rows),
              "{} is {}, expected {} ({}, {})", what, t.describe(), name_of(dtype), rows, cols);
}

void check_flat(const char* what, const Tensor& t, std::int64_t count, DType dtype) {
  SHERD_CHECK(t && t.dtype == dtype && t.numel() == count && t.contiguous(), "{} is {}, expected {} ({}), contiguous",
              what, t.describe(), name_of(dtype), count);
}

void check_act(const char* what, const Tensor& t) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == DType::bf16), "{} is {}, expected f32 or bf16", what,
              t.describe());
}

void check_grad(const char* what, const Tensor& t, DType act) {
  SHERD_CHECK(t && (t.dtype == DType::f32 || t.dtype == act), "{} is {}, expected f32 or {}", what, t.describe(),
              name_of(act));
}

void check_quantize(const Tensor& x, const Tensor& codes, const Tensor& transposed, const Tensor& scale, F8Scale how) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  check_matrix("x", x, rows, cols, DType::bf16);
  SHERD_CHECK(rows % kF8Multiple == 0 && cols % kF8Multiple == 0, "quantize: both dims of {} must be multiples of {}",
              x.describe(), kF8Multiple);
  SHERD_CHECK(reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && (rows <= 1 || x.row_stride % 8 == 0),
              "quantize: the rows of {} do not begin at multiples of 16 bytes", x.describe());
  const Tensor& any = codes ? codes : transposed;
  SHERD_CHECK(any && is_f8(any.dtype), "quantize to {}", any.describe());
  for (const auto& [name, t, r, c] : {std::tuple("codes", codes, rows, cols), {"transposed", transposed, cols, rows}}) {
    if (!t) continue;
    check_flat(name, t, rows * cols, any.dtype);
    check_matrix(name, t, r, c, any.dtype);
    SHERD_CHECK(reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0, "quantize: {} begin at no multiple of 16 bytes",
                name);
  }
  const bool given = how == F8Scale::given;
  SHERD_CHECK(scale, "quantize: no scale {}, expected f32 (1)", given ? "is given" : "to write");
  check_flat(given ? "given scale" : "scale", scale, 1, DType::f32);
}

void check_embedding(const Tensor& tokens, const Tensor& table, const Tensor& out) {
  const std::int64_t n = tokens.numel();
  check_act("table", table);
  check_flat("tokens", tokens, n, DType::i32);
  check_matrix("out", out, n, table.cols(), table.dtype);
}

void check_embedding_grad(const Tensor& dout, const Tensor& tokens, const Tensor& dtable) {
  const std::int64_t n = tokens.numel();
  check_act("dout", dout);
  check_flat("tokens", tokens, n, DType::i32);
  check_matrix("dout", dout, n, dtable.cols(), dout.dtype);
  check_grad("dtable", dtable, dout.dtype);
}

void check_rmsnorm(const Tensor& x, const Tensor& gain, const Tensor& y, const Tensor& rstd) {
  check_act("x", x);
  check_flat("gain", gain, x.cols(), x.dtype);
  check_matrix("y", y, x.rows(), x.cols(), x.dtype);
  if (rstd) check_flat("rstd", rstd, x.rows(), DType::f32);
}

void check_rmsnorm_residual(const Tensor& x, const Tensor& branch, const Tensor& gain, const Tensor& sum,
                            const Tensor& y, const Tensor& rstd) {
  check_rmsnorm(x, gain, y, rstd);
  check_matrix("branch", branch, x.rows(), x.cols(), x.dtype);
  check_matrix("sum", sum, x.rows(), x.cols(), x.dtype);
}

void check_rmsnorm_grad(const Tensor& dy, const Tensor& x, const Tensor& gain, const Tensor& rstd, const Tensor& dx,
                        const Tensor& dgain) {
  const std::int64_t n = x.rows(), c = x.cols();
  check_act("x", x);
  check_matrix("dy", dy, n, c, x.dtype);
  check_flat("gain", gain, c, x.dtype);
  check_flat("rstd", rstd, n, DType::f32);
  check_matrix("dx", dx, n, c, x.dtype);
  check_grad("dgain", dgain, x.dtype);
  check_flat("dgain", dgain, c, dgain.dtype);
}

void check_rope_table(const Tensor& table) {
  SHERD_CHECK(table.rank == 3 && table.dim[2] == 2, "table is {}, expected (P, D/2, 2)", table.describe());
  check_flat("table", table, table.numel(), DType::f32);
}

void check_rope(const Tensor& qkv, const Tensor& doc_start, const Tensor& table, const Heads& heads) {
  const std::int64_t half = heads.dim / 2, n = doc_start.numel();
  check_act("qkv", qkv);
  check_matrix("qkv", qkv, n, heads.packed(), qkv.dtype);
  check_flat("doc_start", doc_start, n, DType::i32);
  SHERD_CHECK(heads.dim % 2 == 0, "rope of odd head dim {}", heads.dim);
  SHERD_CHECK(table.rank == 3 && table.dim[1] == half && table.dim[2] == 2, "table is {}, expected (P, {}, 2)",
              table.describe(), half);
  check_flat("table", table, table.numel(), DType::f32);
}

void check_swiglu(const Tensor& gate_up, const Tensor& out) {
  check_act("out", out);
  check_matrix("gate_up", gate_up, out.rows(), 2 * out.cols(), out.dtype);
}

void check_swiglu_grad(const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up) {
  check_act("dout", dout);
  check_matrix("gate_up", gate_up, dout.rows(), 2 * dout.cols(), dout.dtype);
  check_matrix("dgate_up", dgate_up, dout.rows(), 2 * dout.cols(), dout.dtype);
}

void check_cross_entropy(const Ops::CrossEntropy& a) {
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

void check_adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWScalars& scalars) {
  const std::int64_t n = state.grad.numel();
  SHERD_CHECK(bool(state.master) != bool(state.rest), "masters are whole or split");
  check_act("grad", state.grad);
  check_flat("grad", state.grad, n, state.grad.dtype);
  if (state.master) check_flat("master", state.master, n, DType::f32);
  if (state.rest) check_flat("rest", state.rest, n, DType::i16);
  if (state.copy || state.rest) check_flat("copy", state.copy, n, DType::bf16);
  check_moments(state, n);
  if (state.m.dtype != DType::f32) check_flat("rounding key", scalars.rounding_key, 2, DType::i32);
  for (const Tensor& t : {scalars.lr, scalars.correction1, scalars.correction2, scalars.clip})
    check_flat("scalar", t, 1, DType::f32);
  SHERD_CHECK(state.m.dtype != DType::u8 || std::ssize(runs) <= kMostRunsIn8Bits, "{} runs in 8 bits, at most {}",
              runs.size(), kMostRunsIn8Bits);
  std::int64_t end = 0;
  for (const DecayRun& run : runs) {
    SHERD_CHECK(run.begin >= end && run.count >= 0 && run.begin + run.count <= n,
                "run {} + {} of {} elements, after {}", run.begin, run.count, n, end);
    end = run.begin + run.count;
  }
}

void check_split_master(const Tensor& from, const Tensor& high, const Tensor& rest) {
  check_flat("master", from, from.numel(), DType::f32);
  check_flat("high", high, from.numel(), DType::bf16);
  check_flat("rest", rest, from.numel(), DType::i16);
}

void check_squared_norm(const Tensor& x, const Tensor& out) {
  check_act("x", x);
  check_flat("x", x, x.numel(), x.dtype);
  check_flat("out", out, 1, DType::f32);
}

void check_clip_factor(const Tensor& squares, const Tensor& norm, const Tensor& factor) {
  check_flat("squares", squares, 1, DType::f32);
  check_flat("norm", norm, 1, DType::f32);
  check_flat("factor", factor, 1, DType::f32);
}

void check_fill(const Tensor& x) {
  check_plain("fill", x);
}

void check_cast(const Tensor& from, const Tensor& to) {
  check_plain("cast from", from);
  check_plain("cast to", to);
  SHERD_CHECK(from.numel() == to.numel(), "cast of {} to {}", from.describe(), to.describe());
  if (from.dtype == to.dtype) return;  // a copy, of any dtype
  check_act("cast from", from);
  check_act("cast to", to);
}

void check_add(const Tensor& from, const Tensor& to) {
  check_plain("add", from);
  check_plain("add to", to);
  check_act("add", from);
  check_act("add to", to);
  SHERD_CHECK(from.numel() == to.numel(), "add of {} to {}", from.describe(), to.describe());
}

void check_scale(const Tensor& x, const Tensor& factor) {
  check_plain("scale", x);
  check_act("scale", x);
  check_flat("factor", factor, 1, DType::f32);
}

void check_upload(std::span<const std::byte> from, const Tensor& to) {
  check_plain("upload", to);
  SHERD_CHECK(from.size() == to.bytes(), "upload of {} bytes to {}", from.size(), to.describe());
}

void check_download(const Tensor& from, std::span<const std::byte> to) {
  check_plain("download", from);
  SHERD_CHECK(to.size() == from.bytes(), "download of {} to {} bytes", from.describe(), to.size());
}

void check_initialize(const Tensor& x) {
  check_flat("initialize", x, x.numel(), DType::f32);
}

}  // namespace sherd
