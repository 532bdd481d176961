#pragma once
// Ops: the mathematics of training as one pure interface. cpu::Ops is the oracle and is also fast; cuda::Ops is held
// against it; plan::Ops records bytes and operations and touches no data.
//
// Conventions. N = B T tokens, C model width, H query heads, K key/value heads (H % K == 0), D head dim, F feed-forward
// width, V vocabulary. "act" is the activation dtype: f32 or bf16, one per call. Every op only enqueues; arguments are
// checked at the call (shapes and dtypes, SHERD_CHECK), data is touched when the stream comes to it. Sums are
// accumulated in fp32 (or wider) and do not depend on the number of threads. "=" overwrites, "+=" adds, "beta" does
// out = result + beta * out (beta 0 never reads out, so it may hold NaN). What changes from step to step is a device
// scalar: an f32 tensor of shape (1).
#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd {

/// Rotary embedding, Su et al., arXiv:2104.09864, Hugging Face's half-rotation layout; llama3 scaling as in Llama 3.1.
struct RopeConfig {
  double theta = 10000.0;
  bool llama3 = false;
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  std::int64_t original_max_position = 8192;
};

/// Heads of the packed product qkv (N, (H + 2 K) D): H query heads, then K key heads, then K value heads.
struct Heads {
  std::int64_t query = 0, kv = 0, dim = 0;
  std::int64_t packed() const { return (query + 2 * kv) * dim; }
  auto operator<=>(const Heads&) const = default;
};

/// A run of one flat vector: elements of one parameter, with its weight decay (norm gains usually have none) and what
/// their draws are keyed by.
struct DecayRun {
  std::int64_t begin = 0, count = 0;
  float decay = 0;
  std::uint64_t name_hash = 0, first = 0;  // of the parameter; the element of it that lies at `begin`
};

constexpr std::int64_t kMostRunsIn8Bits = 64;  // of one call, where moments are u8

/// AdamW, Loshchilov & Hutter, arXiv:1711.05101, as in torch.optim.AdamW.
struct AdamWHyper {
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
};
/// Device scalars of one step, (1) f32 but for the last.
struct AdamWScalars {
  Tensor lr;           // learning rate
  Tensor correction1;  // 1 - beta1^t
  Tensor correction2;  // 1 - beta2^t
  Tensor clip;         // factor on the gradient, from clip_factor
  // (2) i32 = rounding_key of ops/rounding.hpp, for moments in bf16 or 8 bits; else it may be null.
  Tensor rounding_key{};
};
/// One shard of S elements. Masters are whole (`master`) or split (`rest`, split_master.hpp).
struct AdamWState {
  Tensor master;    // (S) f32, updated; null with `rest`
  Tensor grad;      // (S) f32 or bf16
  Tensor m, v;      // (S) f32, or both bf16, or both u8 (eight_bit.hpp), updated
  Tensor copy;      // (S) bf16 = rounded master; null when parameters are stored in f32 (then they are the master)
  Tensor rest{};    // (S) i16, updated: what the bf16 in `copy` lacks of the master
  Tensor scales{};  // (ceil(S / 128), 2) f32, updated: of the blocks of m and of v, in 8 bits
};

/// What quantize does with a scale: finds and writes it, or is given it and reads it.
enum class F8Scale { find, given };

struct AlgorithmNeeds;  // algorithms.hpp

class Ops {
 public:
  virtual ~Ops() = default;

  // --- matrix products (ops/*/linear.*). w is (D_out, D_in) as Hugging Face stores it.
  // --------------------------------
  /// y (N, O) = x (N, I) w^T (O, I). act.
  virtual void linear(Tensor x, Tensor w, Tensor y, Stream& s) = 0;
  /// dx (N, I) = dy (N, O) w (O, I) + beta dx. act.
  virtual void linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream& s) = 0;
  /// dw (O, I) = dy^T x + beta dw. dw is f32 or act.
  virtual void linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream& s) = 0;

  // --- products in eight bits (ops/*/quantize.*, linear.*; base/f8.hpp)
  // -----------------------------------------------
  /// scale (1) f32 = that of x (R, C) bf16 as it is now; codes (R, C) and transposed (C, R), either may be null, = x /
  /// scale rounded to nearest even, both e4m3 or both e5m2. R and C are multiples of 16; rows of x begin at multiples
  /// of 16 bytes. A NaN or infinity in x makes scale and every code NaN. With F8Scale::given, scale is read instead: it
  /// must be what was found of the same x in the same format, and codes have the same bits, for one pass over x less.
  virtual void quantize(Tensor x, Tensor codes, Tensor transposed, Tensor scale, F8Scale how, Stream& s) = 0;
  /// out (M, N) = a (M, K) b (N, K)^T a_scale b_scale + beta out, of codes: a is e4m3 or e5m2, b is e4m3; out is f32 or
  /// bf16. M, N and K are multiples of 16.
  virtual void linear_f8(Tensor a, Tensor a_scale, Tensor b, Tensor b_scale, Tensor out, float beta, Stream& s) = 0;

  // --- embedding (ops/*/embedding.*) ------------------------------------------------------------------------------
  /// out (N, C) = table (V, C)[tokens (N) i32].
  virtual void embedding(Tensor tokens, Tensor table, Tensor out, Stream& s) = 0;
  /// dtable (V, C) += rows of dout (N, C), summed per token in token order. dtable is f32 or act.
  virtual void embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream& s) = 0;

  // --- RMSNorm, Zhang & Sennrich, arXiv:1910.07467 (ops/*/rmsnorm.*)
  // --------------------------------------------------
  /// rstd (N) f32 = 1 / sqrt(mean(x^2) + eps); y (N, C) = x rstd gain (C). rstd may be null.
  virtual void rmsnorm(Tensor x, Tensor gain, float eps, Tensor y, Tensor rstd, Stream& s) = 0;
  /// sum (N, C) = x + branch, rounded to act; then y, rstd = rmsnorm of the rounded sum. sum may be x itself.
  virtual void rmsnorm_residual(Tensor x, Tensor branch, Tensor gain, float eps, Tensor sum, Tensor y, Tensor rstd,
                                Stream& s) = 0;
  /// With h = x rstd: dx (N, C) += rstd (g - h mean(g h)), g = dy gain; dgain (C) = sum over N of dy h + beta dgain.
  /// dgain is f32 or act.
  virtual void rmsnorm_grad(Tensor dy, Tensor x, Tensor gain, Tensor rstd, Tensor dx, Tensor dgain, float beta,
                            Stream& s) = 0;

  // --- rotary embedding (ops/*/rope.*) ------------------------------------------------------------------------------
  /// table (P, D/2, 2) f32 = cos, sin of position p times frequency j, computed in f64.
  virtual void rope_table(const RopeConfig& config, Tensor table, Stream& s) = 0;
  /// Rotates the query and key heads of qkv (B, T, (H + 2 K) D) in place, by the position within the document,
  /// t - doc_start (B, T) i32. `inverse` rotates back: the gradient.
  virtual void rope(Tensor qkv, Tensor doc_start, Tensor table, Heads heads, bool inverse, Stream& s) = 0;

  // --- causal attention in tiles, Dao, arXiv:2307.08691 (ops/*/attention.*)
  // ---------------------------------------------
  /// Query t of row b sees keys doc_start[b, t] <= u <= t. out (B, T, H D); lse (B, H, T) f32, the log-sum-exp of the
  /// scores q k / sqrt(D). Query head h reads key/value head h / (H / K).
  virtual void attention(Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse, Stream& s) = 0;
  /// dqkv (B, T, (H + 2 K) D) =. delta (B, H, T) f32 is scratch: the row sums of dout out.
  virtual void attention_grad(Tensor dout, Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse,
                              Tensor delta, Tensor dqkv, Stream& s) = 0;
  /// One query per sequence against a cache: q (B, H D); k_cache, v_cache (B, P, K D); keys 0 .. length-1. out (B, H
  /// D).
  virtual void attention_decode(Tensor q, Tensor k_cache, Tensor v_cache, std::int64_t length, Heads heads, Tensor out,
                                Stream& s) = 0;

  // --- SwiGLU, Shazeer, arXiv:2002.05202 (ops/*/swiglu.*)
  // -------------------------------------------------------------
  /// out (N, F) = silu(gate) up, with gate_up (N, 2 F) = gate columns, then up columns.
  virtual void swiglu(Tensor gate_up, Tensor out, Stream& s) = 0;
  /// dgate_up (N, 2 F) =. dgate_up may be gate_up itself.
  virtual void swiglu_grad(Tensor dout, Tensor gate_up, Tensor dgate_up, Stream& s) = 0;

  // --- output projection + cross entropy in chunks of rows (ops/*/cross_entropy.*)
  // --------------------------------------
  /// Over chunks of R = logits.rows() tokens: logits (R, V) f32 = x w^T; loss (1) f32 += sum over valid tokens of
  /// (lse - logit[target]) / divisor (1); targets (N) i32, negative = no target. With dx given also its gradient:
  /// dlogits (R, V) act (may be `logits` in f32) = (softmax - onehot) / divisor; dx (N, C) = dlogits w; dw (V, C)
  /// = sum of dlogits^T x + beta dw. All logits (N, V) never exist.
  struct CrossEntropy {
    Tensor x, w, targets;    // (N, C) act, (V, C) act, (N) i32
    Tensor logits, dlogits;  // scratch (R, V)
    Tensor loss, divisor;    // (1) f32
    Tensor dx, dw;           // null: loss only
    float beta = 0;
  };
  virtual void linear_cross_entropy(const CrossEntropy& args, Stream& s) = 0;

  // --- optimizer (ops/*/adamw.*) ------------------------------------------------------------------------------------
  /// g = clip grad; m, v, master updated; master -= lr (decay master + (m / c1) / (sqrt(v / c2) + eps)).
  /// Elements outside `runs` (padding) are left alone; in 8 bits their moments must be 0. Arithmetic is f32; moments in
  /// bf16 or 8 bits are rounded stochastically when they are stored (rounding.hpp, eight_bit.hpp), by bits that depend
  /// on key, parameter and element only. Runs are in order and do not overlap; in 8 bits there are at most 64.
  virtual void adamw(const AdamWState& state, std::span<const DecayRun> runs, const AdamWHyper& hyper,
                     const AdamWScalars& scalars, Stream& s) = 0;
  /// high (n) bf16, rest (n) i16: the master weights from (n) f32, split (split_master.hpp).
  virtual void split_master(Tensor from, Tensor high, Tensor rest, Stream& s) = 0;
  /// out (1) f32 += sum of squares of x (f32 or bf16), summed in f64.
  virtual void squared_norm(Tensor x, Tensor out, Stream& s) = 0;
  /// norm (1) = sqrt(squares (1)); factor (1) = min(1, max_norm / (norm + 1e-6)); max_norm <= 0 means no clipping.
  virtual void clip_factor(Tensor squares, float max_norm, Tensor norm, Tensor factor, Stream& s) = 0;

  // --- data movement (ops/*/memory.*) -------------------------------------------------------------------------------
  virtual void fill(Tensor x, float value, Stream& s) = 0;     // any dtype
  virtual void cast(Tensor from, Tensor to, Stream& s) = 0;    // to = from, f32 <-> bf16, or a copy
  virtual void add(Tensor from, Tensor to, Stream& s) = 0;     // to += from, f32 or bf16 each
  virtual void scale(Tensor x, Tensor factor, Stream& s) = 0;  // x *= factor (1) f32
  /// Host memory to device and back. The host memory must stay valid until the stream has passed the call.
  virtual void upload(std::span<const std::byte> from, Tensor to, Stream& s) = 0;
  virtual void download(Tensor from, std::span<std::byte> to, Stream& s) = 0;
  /// x (n) f32 = scale * normal(seed, hash, first + i), or scale itself when `constant`: initialisation by element.
  struct InitRun {
    std::uint64_t seed = 0, name_hash = 0;
    std::uint64_t first = 0;
    float scale = 0;
    bool constant = false;
  };
  virtual void initialize(Tensor x, const InitRun& run, Stream& s) = 0;

  // --- algorithms (ops/cuda/gemm_tune.cpp, attention_tune.cpp) ------------------------------------------------------
  /// Which algorithm should compute which product and which kernel which attention, as text for use_algorithms on every
  /// rank: from `known` (such a text, perhaps of another device), else from this machine's cache, else the fastest of a
  /// timed search, which is cached. `slab`: Backend::attention_slab_bytes, or null. `scratch`, device memory, is
  /// overwritten. Waits for the stream. Empty: this backend has nothing to choose.
  virtual std::string choose_algorithms(const AlgorithmNeeds&, std::string_view /*known*/, Tensor /*slab*/,
                                        Tensor /*scratch*/, Stream&) {
    return {};
  }
  /// Computes `needs` by them from now on, with `slab` as its own. A text of another device or library is left unused,
  /// which the log says.
  virtual void use_algorithms(std::string_view /*text*/, const AlgorithmNeeds& /*needs*/, Tensor /*slab*/) {}
};

namespace cpu {
/// The CPU's Ops. `workspace` is a slab of workspace_bytes() from the run's persistent arena (f32, flat).
constexpr std::int64_t kWorkspaceBytes = 64 << 20;
std::unique_ptr<sherd::Ops> make_ops(Tensor workspace);
/// The rate that this machine's products reach now, in FLOP/s over all threads of the caller: the MFU denominator.
double measure_gemm_rate(DType dtype);
/// The rate at which this machine's memory is copied now, in bytes/s, each byte read and each written counted.
double measure_copy_rate();
}  // namespace cpu

}  // namespace sherd
