#pragma once
// cpu::OpsImpl: the CPU's Ops, a file per op. Every op checks its arguments, then enqueues one item of work that
// declares all it touches, the workspace included.
#include "gemm.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cpu {

class OpsImpl final : public sherd::Ops {
 public:
  explicit OpsImpl(Tensor workspace);

  void linear(Tensor x, Tensor w, Tensor y, Stream& s) override;
  void linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream& s) override;
  void linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream& s) override;

  void quantize(Tensor x, Tensor codes, Tensor transposed, Tensor scale, F8Scale how, Stream& s) override;
  void linear_f8(Tensor a, Tensor a_scale, Tensor b, Tensor b_scale, Tensor out, float beta, Stream& s) override;

  void embedding(Tensor tokens, Tensor table, Tensor out, Stream& s) override;
  void embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream& s) override;

  void rmsnorm(Tensor x, Tensor gain, float eps, Tensor y, Tensor rstd, Stream& s) override;
  void rmsnorm_residual(Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
                        Stream& s) override;
  void rmsnorm_grad(Tensor dy, Tensor x, Tensor gain, Tensor rstd, Tensor dx, Tensor dgain, float beta,
                    Stream& s) override;

  void rope_table(const RopeConfig& config, Tensor table, Stream& s) override;
  void rope(Tensor qkv, Tensor doc_start, Tensor table, Heads heads, bool inverse, Stream& s) override;

  void attention(Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse, Stream& s) override;
  void attention_grad(Tensor dout, Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse, Tensor delta,
                      Tensor dqkv, Stream& s) override;
  void attention_decode(Tensor q, Tensor k_cache, Tensor v_cache, std::int64_t length, Heads heads, Tensor out,
                        Stream& s) override;

  void swiglu(Tensor gate_up, Tensor out, Stream& s) override;
  void swiglu_grad(Tensor dout, Tensor gate_up, Tensor dgate_up, Stream& s) override;

  void linear_cross_entropy(const CrossEntropy& args, Stream& s) override;

  void adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
             const AdamWScalars& scalars, Stream& s) override;
  void split_master(Tensor from, Tensor high, Tensor rest, Stream& s) override;
  void squared_norm(Tensor x, Tensor out, Stream& s) override;
  void clip_factor(Tensor squares, float max_norm, Tensor norm, Tensor factor, Stream& s) override;

  void fill(Tensor x, float value, Stream& s) override;
  void cast(Tensor from, Tensor to, Stream& s) override;
  void add(Tensor from, Tensor to, Stream& s) override;
  void scale(Tensor x, Tensor factor, Stream& s) override;
  void upload(std::span<const std::byte> from, Tensor to, Stream& s) override;
  void download(Tensor from, std::span<std::byte> to, Stream& s) override;
  void initialize(Tensor x, const InitRun& run, Stream& s) override;

 private:
  Tensor workspace_;  // (kWorkspaceBytes / 4) f32, used by one item of work at a time
  void multiply(const Product& product, const char* op, Stream& s);

  Gemm gemm_;
};

}  // namespace sherd::cpu
