// The bytes of an operation are what it must move if nothing of it is in a cache: each input tensor read once, each
// output written once, what is updated both. Formulas stand at each operation.
#include "sherd/plan/recording_ops.hpp"

#include <algorithm>
#include <initializer_list>

#include "sherd/ops/check.hpp"
#include "sherd/ops/eight_bit.hpp"

namespace sherd {
namespace {

double bytes_of(std::initializer_list<Tensor> all) {
  double sum = 0;
  for (const Tensor& t : all) sum += t ? static_cast<double>(t.bytes()) : 0.0;
  return sum;
}

double element(const Tensor& t) {
  return t ? static_cast<double>(size_of(t.dtype)) : 0.0;
}

/// Per element: masters, whole or split, and moments, with their scales, are read and written.
double adamw_bytes(const AdamWState& s) {
  const double scales = s.scales ? 2 * 4.0 / static_cast<double>(kMomentBlock) : 0;
  const double master = s.rest ? element(s.rest) + element(s.copy) : element(s.master);
  return 2 * (master + element(s.m) + element(s.v) + scales) + element(s.grad) + (s.rest ? 0 : element(s.copy));
}

class RecordingOps final : public Ops {
 public:
  explicit RecordingOps(PlannedOps& totals) : totals_(totals) {}

  void linear(Tensor x, Tensor w, Tensor y, Stream&) override { product("linear", linear_product(x, w, y)); }
  void linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream&) override {
    product("linear_grad_input", linear_grad_input_product(dy, w, dx, beta));
  }
  void linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream&) override {
    product("linear_grad_weight", linear_grad_weight_product(dy, x, dw, beta));
  }
  /// A row of the table for each token, and as many written.
  void embedding(Tensor tokens, Tensor, Tensor out, Stream&) override {
    moves("embedding", bytes_of({tokens, out, out}));
  }
  /// Rows of the table are updated for as many different tokens as there can be.
  void embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream&) override {
    const auto rows = static_cast<double>(std::min(dtable.rows(), tokens.numel()));
    moves("embedding_grad", bytes_of({dout, tokens}) + 2 * rows * static_cast<double>(dtable.cols()) * element(dtable));
  }
  void rmsnorm(Tensor x, Tensor gain, float, Tensor y, Tensor rstd, Stream&) override {
    moves("rmsnorm", bytes_of({x, gain, y, rstd}));
  }
  void rmsnorm_residual(Tensor x, Tensor branch, Tensor gain, float, Tensor sum, Tensor y, Tensor rstd,
                        Stream&) override {
    moves("rmsnorm_residual", bytes_of({x, branch, gain, sum, y, rstd}));
  }
  /// dx is added to, and dgain with beta.
  void rmsnorm_grad(Tensor dy, Tensor x, Tensor gain, Tensor rstd, Tensor dx, Tensor dgain, float beta,
                    Stream&) override {
    moves("rmsnorm_grad", bytes_of({dy, x, gain, rstd, dx, dx, dgain, beta != 0 ? dgain : Tensor{}}));
  }
  void rope_table(const RopeConfig&, Tensor table, Stream&) override { moves("rope_table", bytes_of({table})); }
  /// Of qkv the heads of queries and keys, read and written.
  void rope(Tensor qkv, Tensor doc_start, Tensor table, Heads heads, bool inverse, Stream&) override {
    const auto turned = static_cast<double>(qkv.rows() * (heads.query + heads.kv) * heads.dim);
    moves(inverse ? "rope_inverse" : "rope", 2 * turned * element(qkv) + bytes_of({doc_start, table}));
  }
  void attention(Tensor qkv, Tensor, Heads heads, Tensor, Tensor, Stream&) override {
    attend("attention", 2, qkv, heads);
  }
  /// Once for the scale, unless it is given, once for the codes.
  void quantize(Tensor x, Tensor codes, Tensor transposed, Tensor scale, F8Scale how, Stream&) override {
    moves("quantize", bytes_of({how == F8Scale::find ? x : Tensor{}, x, codes, transposed, scale}));
  }
  void linear_f8(Tensor a, Tensor a_scale, Tensor b, Tensor b_scale, Tensor out, float beta, Stream&) override {
    product("linear_f8", linear_f8_product(a, a_scale, b, b_scale, out, beta));
  }
  void attention_grad(Tensor, Tensor qkv, Tensor, Heads heads, Tensor, Tensor, Tensor, Tensor, Stream&) override {
    attend("attention_grad", 5, qkv, heads);
  }
  void attention_decode(Tensor, Tensor, Tensor, std::int64_t, Heads, Tensor, Stream&) override { ++totals_.calls; }
  void swiglu(Tensor gate_up, Tensor out, Stream&) override { moves("swiglu", bytes_of({gate_up, out})); }
  void swiglu_grad(Tensor dout, Tensor gate_up, Tensor dgate_up, Stream&) override {
    moves("swiglu_grad", bytes_of({dout, gate_up, dgate_up}));
  }
  /// Each logit is read once as f32, and its gradient written once.
  void linear_cross_entropy(const CrossEntropy& a, Stream&) override {
    check_cross_entropy(a);
    for (std::int64_t first = 0; first < a.targets.numel(); first += a.logits.rows()) {
      const CrossEntropyChunk chunk = cross_entropy_chunk(a, first);
      product("linear_cross_entropy", chunk.logits);
      const auto logits = static_cast<double>(chunk.rows * a.w.rows());
      const auto targets = 4 * static_cast<double>(chunk.rows);
      moves("cross_entropy_loss", logits * (4 + (a.dx ? element(a.dlogits) : 0)) + targets);
      if (!a.dx) continue;
      product("linear_cross_entropy", chunk.dx);
      product("linear_cross_entropy", chunk.dw);
    }
  }
  /// Masters and moments are updated, the gradient is read, the copy written; padding is left alone.
  void adamw(const AdamWState& s, std::span<const DecayRun> runs, const AdamWHyper&, const AdamWScalars&,
             Stream&) override {
    std::int64_t elements = 0;
    for (const DecayRun& run : runs) elements += run.count;
    moves("adamw", static_cast<double>(elements) * adamw_bytes(s));
  }
  void split_master(Tensor from, Tensor high, Tensor rest, Stream&) override {
    moves("split_master", bytes_of({from, high, rest}));
  }
  void squared_norm(Tensor x, Tensor, Stream&) override { moves("squared_norm", bytes_of({x})); }
  void clip_factor(Tensor squares, float, Tensor norm, Tensor factor, Stream&) override {
    moves("clip_factor", bytes_of({squares, norm, factor}));
  }
  void fill(Tensor x, float, Stream&) override { moves("fill", bytes_of({x})); }
  void cast(Tensor from, Tensor to, Stream&) override {
    moves(from.dtype == to.dtype ? "copy" : "cast", bytes_of({from, to}));
  }
  void add(Tensor from, Tensor to, Stream&) override { moves("add", bytes_of({from, to, to})); }
  void scale(Tensor x, Tensor factor, Stream&) override { moves("scale", bytes_of({x, x, factor})); }
  /// The device's side; the host's memory is another.
  void upload(std::span<const std::byte>, Tensor to, Stream&) override { moves("upload", bytes_of({to})); }
  void download(Tensor from, std::span<std::byte>, Stream&) override { moves("download", bytes_of({from})); }
  void initialize(Tensor x, const InitRun&, Stream&) override { moves("initialize", bytes_of({x})); }

 private:
  void moves(std::string_view op, double bytes) {
    OpWork& work = at(op);
    ++totals_.calls;
    ++work.calls;
    work.bytes += bytes;
  }
  void product(std::string_view op, const Product& p) {
    const ProductKey key = key_of(p, "plan");
    computes(op, key.flops());
    totals_.product_flops += key.flops();
    if (is_f8(key.in)) totals_.f8_flops += key.flops();
    totals_.products.insert(key);
  }
  /// `products` of (T, D) with (D, T), half of each above the diagonal, per query head.
  void attend(std::string_view op, int products, Tensor qkv, Heads heads) {
    if (qkv.dtype == DType::bf16) totals_.attentions.insert({qkv.dim[0], qkv.dim[1], heads, 0});
    const auto B = static_cast<double>(qkv.dim[0]), T = static_cast<double>(qkv.dim[1]);
    const double flops = products * B * T * T * static_cast<double>(heads.query * heads.dim);
    totals_.attention_flops += flops;
    computes(op, flops);
  }
  void computes(std::string_view op, double flops) {
    OpWork& work = at(op);
    ++totals_.calls;
    ++work.calls;
    work.flops += flops;
  }
  OpWork& at(std::string_view op) {
    const auto found = totals_.work.find(op);
    return found == totals_.work.end() ? totals_.work[std::string(op)] : found->second;
  }

  PlannedOps& totals_;
};

}  // namespace

std::unique_ptr<Ops> make_recording_ops(PlannedOps& totals) {
  return std::make_unique<RecordingOps>(totals);
}

}  // namespace sherd
