#pragma once
// cuda::OpsImpl: the CUDA device's Ops, a file per op. Every op checks its arguments as the CPU's does, then enqueues
// kernels. All sums have an order that the shapes fix, so the same inputs give the same bits.
#include "attention_pins.hpp"
#include "gemm.hpp"
#include "sherd/ops/algorithms.hpp"

namespace sherd::cuda {

class OpsImpl final : public sherd::Ops {
 public:
  /// `workspace` (kWorkspaceBytes / 4) f32: its first half for the products, its second for everything else.
  explicit OpsImpl(Tensor workspace);
  ~OpsImpl() override;

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

  std::string choose_algorithms(const AlgorithmNeeds& needs, std::string_view known, Tensor slab, Tensor scratch,
                                Stream& s) override;
  void use_algorithms(std::string_view text, const AlgorithmNeeds& needs, Tensor slab) override;

 private:
  void adamw_8bit(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                  const AdamWScalars& scalars, Stream& s);

  Tensor scratch_;             // (kWorkspaceBytes / 8) f32, used by one op at a time
  Tensor products_workspace_;  // (kWorkspaceBytes / 8) f32, Gemm's
  Gemm gemm_;
  PinnedAttention pinned_attention_;
};

}  // namespace sherd::cuda
