#include "sherd/plan/recording_ops.hpp"

#include "sherd/ops/check.hpp"

namespace sherd {
namespace {

class RecordingOps final : public Ops {
 public:
  explicit RecordingOps(PlannedOps& totals) : totals_(totals) {}

  void linear(Tensor x, Tensor w, Tensor y, Stream&) override { product(linear_product(x, w, y)); }
  void linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream&) override {
    product(linear_grad_input_product(dy, w, dx, beta));
  }
  void linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream&) override {
    product(linear_grad_weight_product(dy, x, dw, beta));
  }
  void embedding(Tensor, Tensor, Tensor, Stream&) override { other(); }
  void embedding_grad(Tensor, Tensor, Tensor, Stream&) override { other(); }
  void rmsnorm(Tensor, Tensor, float, Tensor, Tensor, Stream&) override { other(); }
  void rmsnorm_residual(Tensor, Tensor, Tensor, float, Tensor, Tensor, Tensor, Stream&) override { other(); }
  void rmsnorm_grad(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float, Stream&) override { other(); }
  void rope_table(const RopeConfig&, Tensor, Stream&) override { other(); }
  void rope(Tensor, Tensor, Tensor, Heads, bool, Stream&) override { other(); }
  void attention(Tensor qkv, Tensor, Heads heads, Tensor, Tensor, Stream&) override { attend(2, qkv, heads); }
  void attention_grad(Tensor, Tensor qkv, Tensor, Heads heads, Tensor, Tensor, Tensor, Tensor, Stream&) override {
    attend(5, qkv, heads);
  }
  void attention_decode(Tensor, Tensor, Tensor, std::int64_t, Heads, Tensor, Stream&) override { other(); }
  void swiglu(Tensor, Tensor, Stream&) override { other(); }
  void swiglu_grad(Tensor, Tensor, Tensor, Stream&) override { other(); }
  void linear_cross_entropy(const CrossEntropy& a, Stream&) override {
    check_cross_entropy(a);
    for (std::int64_t first = 0; first < a.targets.numel(); first += a.logits.rows()) {
      const CrossEntropyChunk chunk = cross_entropy_chunk(a, first);
      product(chunk.logits);
      if (!a.dx) continue;
      product(chunk.dx);
      product(chunk.dw);
    }
  }
  void adamw(const AdamWState&, std::span<const DecayRun>, const AdamWHyper&, const AdamWScalars&, Stream&) override {
    other();
  }
  void split_master(Tensor, Tensor, Tensor, Stream&) override { other(); }
  void squared_norm(Tensor, Tensor, Stream&) override { other(); }
  void clip_factor(Tensor, float, Tensor, Tensor, Stream&) override { other(); }
  void fill(Tensor, float, Stream&) override { other(); }
  void cast(Tensor, Tensor, Stream&) override { other(); }
  void add(Tensor, Tensor, Stream&) override { other(); }
  void scale(Tensor, Tensor, Stream&) override { other(); }
  void upload(std::span<const std::byte>, Tensor, Stream&) override { other(); }
  void download(Tensor, std::span<std::byte>, Stream&) override { other(); }
  void initialize(Tensor, const InitRun&, Stream&) override { other(); }

 private:
  void other() { ++totals_.calls; }
  void product(const Product& p) {
    const ProductKey key = key_of(p, "plan");
    ++totals_.calls;
    totals_.product_flops += key.flops();
    totals_.products.insert(key);
  }
  /// `products` of (T, D) with (D, T), half of each above the diagonal, per query head.
  void attend(int products, Tensor qkv, Heads heads) {
    ++totals_.calls;
    if (qkv.dtype == DType::bf16) totals_.attentions.insert({qkv.dim[0], qkv.dim[1], heads, 0});
    const auto B = static_cast<double>(qkv.dim[0]), T = static_cast<double>(qkv.dim[1]);
    totals_.attention_flops += products * B * T * T * static_cast<double>(heads.query * heads.dim);
  }

  PlannedOps& totals_;
};

}  // namespace

std::unique_ptr<Ops> make_recording_ops(PlannedOps& totals) {
  return std::make_unique<RecordingOps>(totals);
}

}  // namespace sherd
