// gpu_ops_bench: what the GPU's kernels reach. A JSON line each: first the bandwidth of a copy on the device, then the
// ops that are bound by memory, in GB/s of the bytes that must move and as a share of that copy; then attention, ours
// and cuDNN's, of dense rows and of packed ones, in TFLOP/s of the operations that causality and documents leave.
//
// Times are medians of samples between two CUDA events on one stream; a sample is several calls where one is short.
// Bytes that must move, per element of the tensors named, with e the bytes of an element (2 in bf16):
//
//   rmsnorm            x (N, C): 2 e              x read, y written (and 4 N of rstd, as all below that have it)
//   rmsnorm_residual   x (N, C): 4 e              x and branch read, sum and y written
//   rmsnorm_grad       x (N, C): 4 e              dy, x, dx read, dx written
//   swiglu             out (N, F): 3 e            gate and up read, out written
//   swiglu_grad        dout (N, F): 5 e           dout, gate and up read, both gradients written
//   rope               (N, (H + K) D): 2 e        query and key heads of qkv read and written
//   adamw              parameter: 10 + g + 4 e    fp32 master read and written, bf16 copy written, gradient of g bytes
//   read,
//                                                 two moments of e bytes read and written; masters that are split: 8
//                                                 in the place of 10; moments in 8 bits: 1/8 more, of their scales
//   squared_norm       element: 4                 read, in f32
//   cast               element: 4 + 2             f32 read, bf16 written
//
// Attention's operations, per head and document of n tokens: 2 n^2 D forward (two products, half of each), 5 n^2 D
// backward.
#include <cstdlib>

#include "../../src/ops/cuda/cudnn_attention.hpp"
#include "../../src/ops/cuda/search_probe.hpp"
#include "../../src/ops/cuda/timed_search.hpp"
#include "documents.hpp"
#include "sherd/base/log.hpp"
#include "sherd/config/command_line.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/file/json.hpp"
#include "sherd/ops/cuda/ops.hpp"

namespace sherd::cuda {
namespace {

struct Settings {
  std::string what = "all";
  std::int64_t bytes = std::int64_t{512} << 20;  // of the smallest of an op's large tensors, at least
  std::int64_t width = 4096, inner = 11008;      // C, F
  std::int64_t heads = 32, kv_heads = 32, dim = 128;
  std::int64_t tokens = 16384;  // of attention's batches
  std::int64_t shortest = 2048, longest = 8192;
  std::int64_t samples = 11;
  double sample_microseconds = 4000;
};

Fields fields_of(Settings& s) {
  const std::string group = "What is measured";
  const Range size{1, 1e12};
  return {{"what", group, &s.what, "all, ops or attention", {}, {"all", "ops", "attention"}},
          {"bytes", group, &s.bytes, "of each large tensor, at least", size},
          {"width", group, &s.width, "C, columns of norms", size},
          {"inner", group, &s.inner, "F, columns of SwiGLU", size},
          {"heads", group, &s.heads, "query heads", size},
          {"kv-heads", group, &s.kv_heads, "key and value heads", size},
          {"dim", group, &s.dim, "of a head", size},
          {"tokens", group, &s.tokens, "of attention's batches", size},
          {"shortest", group, &s.shortest, "sequence of attention; doubled up to --longest", size},
          {"longest", group, &s.longest, "sequence of attention", size},
          {"samples", group, &s.samples, "of which the median counts", {1, 1000}},
          {"sample-microseconds", group, &s.sample_microseconds, "of a sample, in up to 40 calls", {1, 1e6}}};
}

struct Timing {
  double median = 0, least = 0, most = 0;  // seconds of a call
};

class Bench {
 public:
  explicit Bench(Settings s)
      : s_(std::move(s)),
        device_(make_device(0)),
        stream_(device_->stream("compute", StreamKind::compute)),
        arena_(device_->arena("benchmark", arena_bytes())),
        ops_(make_ops(arena_.take(DType::f32, {kWorkspaceBytes / 4}))) {}

  void run() {
    std::string reason;
    const std::string cudnn = CudnnAttention::library(reason);
    fmt::print("{{\"bench\":\"gpu_ops\",\"device\":{},\"cuda\":{},\"cudnn\":{},\"bytes\":{},\"samples\":{}}}\n",
               json_quote(device_->describe()), json_quote(version()), json_quote(cudnn.empty() ? reason : cudnn),
               s_.bytes, s_.samples);
    if (s_.what != "attention") run_ops();
    if (s_.what != "ops") run_attention();
  }

 private:
  Heads heads() const { return {s_.heads, s_.kv_heads, s_.dim}; }
  /// The largest row is AdamW's, of nine times `bytes`; attention's is its tensors and cuDNN's slab.
  std::size_t arena_bytes() const {
    std::int64_t most = 10 * s_.bytes;
    for (std::int64_t t = s_.shortest; t <= s_.longest; t *= 2) {
      const std::int64_t batch = div_up(s_.tokens, t);
      most = std::max(most, 12 * batch * t * heads().packed() + attention_slab_bytes(batch, t, heads()));
    }
    const std::int64_t small = std::int64_t{96} << 20;  // the workspace, rows of scalars, rounding up to whole rows
    return static_cast<std::size_t>(small + most);
  }

  Tensor random(DType dtype, std::initializer_list<std::int64_t> shape) {
    const Tensor t = arena_.take(dtype, shape);
    fill_unevenly(t.flat(0, t.numel()), *stream_);
    return t;
  }
  Tensor filled(std::initializer_list<std::int64_t> shape, float value) {
    const Tensor t = arena_.take(DType::f32, shape);
    ops_->fill(t, value, *stream_);
    return t;
  }
  Tensor uploaded(const std::vector<std::int32_t>& values, std::initializer_list<std::int64_t> shape) {
    const Tensor t = arena_.take(DType::i32, shape);
    ops_->upload(std::as_bytes(std::span(values)), t, *stream_);
    stream_->synchronize();
    return t;
  }

  template <class Enqueue>
  Timing time(const Enqueue& enqueue) {
    const auto sample = [&](int times) {
      return watch_.measure(native(*stream_), [&] {
        for (int i = 0; i < times; ++i) enqueue();
      }) / times;
    };
    sample(2);  // loads the kernels, and wakes the clocks
    const int times = std::clamp(static_cast<int>(s_.sample_microseconds / std::max(1.0, sample(1))), 1, 40);
    std::vector<double> seconds;
    constexpr double kLeast = 1e-3;  // the emulated device's copies take no time
    for (std::int64_t i = 0; i < s_.samples; ++i) seconds.push_back(1e-6 * std::max(kLeast, sample(times)));
    stream_->synchronize();  // throws what a kernel found
    std::sort(seconds.begin(), seconds.end());
    return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
  }

  /// One row of what memory bounds. `bytes`: that must move.
  template <class Enqueue>
  void row(const std::string& name, const std::string& dtype, const std::string& shape, double bytes,
           const Enqueue& enqueue) {
    const Timing t = time(enqueue);
    if (copy_rate_ == 0) copy_rate_ = bytes / t.median;
    fmt::print(
        "{{\"bench\":\"op\",\"op\":\"{}\",\"dtype\":\"{}\",\"shape\":\"{}\",\"bytes\":{:.0f},\"seconds\":{:.9f},"
        "\"least_seconds\":{:.9f},\"most_seconds\":{:.9f},\"gb_per_second\":{:.1f},\"share_of_copy\":{:.4f}}}\n",
        name, dtype, shape, bytes, t.median, t.least, t.most, bytes / t.median / 1e9, bytes / t.median / copy_rate_);
    std::fflush(stdout);
  }

  void run_ops() {
    copy();
    norms();
    swiglu();
    rope();
    adamw("adamw", DType::f32, DType::f32, false);
    adamw("adamw_bf16_moments", DType::bf16, DType::f32, false);
    adamw("adamw_split_bf16", DType::bf16, DType::bf16, true);
    adamw("adamw_split_8bit", DType::u8, DType::bf16, true);
    sums();
  }

  void copy() {
    const Arena::Scope scope(arena_);
    const Tensor from = random(DType::f32, {div_up(s_.bytes, 4)}), to = random(DType::f32, {div_up(s_.bytes, 4)});
    row("copy", "f32", fmt::format("{}", from.numel()), 2.0 * static_cast<double>(from.bytes()), [&] {
      CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice, native(*stream_)));
    });
  }

  void norms() {
    const Arena::Scope scope(arena_);
    const std::int64_t c = s_.width, n = div_up(s_.bytes, 2 * c);
    const Tensor x = random(DType::bf16, {n, c}), branch = random(DType::bf16, {n, c}), gain = random(DType::bf16, {c});
    const Tensor y = random(DType::bf16, {n, c}), sum = random(DType::bf16, {n, c});
    const Tensor rstd = filled({n}, 1), dgain = filled({c}, 0);
    const auto bytes = [&](double per_element) {
      return static_cast<double>(n) * (per_element * static_cast<double>(c) + 4);
    };
    const std::string shape = fmt::format("{} x {}", n, c);
    row("rmsnorm", "bf16", shape, bytes(4), [&] { ops_->rmsnorm(x, gain, 1e-5f, y, rstd, *stream_); });
    row("rmsnorm_residual", "bf16", shape, bytes(8),
        [&] { ops_->rmsnorm_residual(x, branch, gain, 1e-5f, sum, y, rstd, *stream_); });
    ops_->rmsnorm(x, gain, 1e-5f, y, rstd, *stream_);  // of x
    // dx grows from call to call and may become infinite; that changes no time.
    row("rmsnorm_grad", "bf16", shape, bytes(8),
        [&] { ops_->rmsnorm_grad(branch, x, gain, rstd, sum, dgain, 0, *stream_); });
  }

  void swiglu() {
    const Arena::Scope scope(arena_);
    const std::int64_t f = s_.inner, n = div_up(s_.bytes, 2 * f);
    const Tensor gate_up = random(DType::bf16, {n, 2 * f}), out = random(DType::bf16, {n, f});
    const Tensor dgate_up = random(DType::bf16, {n, 2 * f});
    const auto bytes = [&](double per_element) { return per_element * static_cast<double>(n * f); };
    const std::string shape = fmt::format("{} x {}", n, f);
    row("swiglu", "bf16", shape, bytes(6), [&] { ops_->swiglu(gate_up, out, *stream_); });
    row("swiglu_grad", "bf16", shape, bytes(10), [&] { ops_->swiglu_grad(out, gate_up, dgate_up, *stream_); });
  }

  void rope() {
    const Arena::Scope scope(arena_);
    const std::int64_t t = s_.shortest, b = div_up(s_.bytes, 2 * t * heads().packed());
    const Tensor qkv = random(DType::bf16, {b, t, heads().packed()});
    const Tensor starts = uploaded(std::vector<std::int32_t>(static_cast<std::size_t>(b * t)), {b, t});
    const Tensor table = arena_.take(DType::f32, {t, s_.dim / 2, 2});
    ops_->rope_table({}, table, *stream_);
    const double bytes = 4.0 * static_cast<double>(b * t * (s_.heads + s_.kv_heads) * s_.dim);
    row("rope", "bf16", fmt::format("{} x {} x {}", b, t, heads().packed()), bytes,
        [&] { ops_->rope(qkv, starts, table, heads(), false, *stream_); });
  }

  void adamw(const std::string& name, DType moments, DType grad, bool split) {
    const Arena::Scope scope(arena_);
    const std::int64_t n = div_up(s_.bytes, 2 * 128) * 128;  // bf16's tensors have `bytes`
    const auto zeros = [&](DType dtype, std::int64_t count) {
      const Tensor t = arena_.take(dtype, {count});
      CUDA_CHECK(cudaMemsetAsync(t.data, 0, t.bytes(), native(*stream_)));
      return t;
    };
    AdamWState state;
    if (!split) state.master = random(DType::f32, {n});
    if (split) state.rest = zeros(DType::i16, n);
    state.grad = random(grad, {n});
    state.m = zeros(moments, n);
    state.v = zeros(moments, n);
    state.copy = random(DType::bf16, {n});
    if (moments == DType::u8) state.scales = zeros(DType::f32, n / 64).view({n / 128, 2});
    AdamWScalars scalars{filled({1}, 1e-4f), filled({1}, 0.1f), filled({1}, 0.05f), filled({1}, 1), {}};
    scalars.rounding_key = uploaded({1, 2}, {2});
    const std::vector<DecayRun> runs{{0, n, 0.1f, 1, 0}};
    const double bytes = (split ? 8.0 : 10.0) + static_cast<double>(size_of(grad)) +
                         4.0 * static_cast<double>(size_of(moments)) + (moments == DType::u8 ? 16.0 / 128 : 0.0);
    row(name, "f32", fmt::format("{}", n), bytes * static_cast<double>(n),
        [&] { ops_->adamw(state, runs, {}, scalars, *stream_); });
  }

  void sums() {
    const Arena::Scope scope(arena_);
    const std::int64_t n = div_up(s_.bytes, 2);
    const Tensor x = random(DType::f32, {n}), to = random(DType::bf16, {n}), out = filled({1}, 0);
    const std::string shape = fmt::format("{}", n);
    row("squared_norm", "f32", shape, 4.0 * static_cast<double>(n), [&] { ops_->squared_norm(x, out, *stream_); });
    row("cast", "f32 to bf16", shape, 6.0 * static_cast<double>(n), [&] { ops_->cast(x, to, *stream_); });
  }

  // --- attention ---
  void run_attention() {
    for (std::int64_t t = s_.shortest; t <= s_.longest; t *= 2) {
      for (const bool packed : {false, true}) attention(t, packed);
    }
  }

  void attention(std::int64_t t, bool packed) {
    const Arena::Scope scope(arena_);
    const std::int64_t b = div_up(s_.tokens, t), mean = packed ? t / 4 : 0;
    const auto starts = bench::document_starts(b, t, mean, Random(1, Purpose::test, static_cast<std::uint64_t>(t)));
    double squares = 0;  // of the documents' lengths
    for (const auto& row : bench::document_lengths(starts, t)) {
      for (const std::int64_t n : row) squares += static_cast<double>(n) * static_cast<double>(n);
    }
    const double product = squares * static_cast<double>(s_.heads * s_.dim);
    const Tensor qkv = random(DType::bf16, {b, t, heads().packed()}),
                 dqkv = random(DType::bf16, {b, t, heads().packed()});
    const Tensor out = random(DType::bf16, {b, t, s_.heads * s_.dim}),
                 dout = random(DType::bf16, {b, t, s_.heads * s_.dim});
    const Tensor lse = filled({b, s_.heads, t}, 0), delta = filled({b, s_.heads, t}, 0);
    const Tensor first = uploaded(starts, {b, t});
    const auto print = [&](bool backward, const std::string& by, const std::string& result) {
      fmt::print(
          "{{\"bench\":\"attention\",\"length\":{},\"batch\":{},\"heads\":{},\"kv_heads\":{},\"dim\":{},\"packed\":{},"
          "\"mean_document\":{},\"direction\":\"{}\",\"by\":\"{}\",{}}}\n",
          t, b, s_.heads, s_.kv_heads, s_.dim, packed, packed ? mean : t, backward ? "backward" : "forward", by,
          result);
      std::fflush(stdout);
    };
    const auto measured = [&](bool backward, const auto& enqueue) {
      const Timing time_taken = time(enqueue);
      const double flops = (backward ? 5 : 2) * product;
      return fmt::format("\"seconds\":{:.9f},\"tflops\":{:.2f}", time_taken.median, flops / time_taken.median / 1e12);
    };
    print(false, "ours", measured(false, [&] { ops_->attention(qkv, first, heads(), out, lse, *stream_); }));
    print(true, "ours",
          measured(true, [&] { ops_->attention_grad(dout, qkv, first, heads(), out, lse, delta, dqkv, *stream_); }));
    const std::int64_t documents = packed ? b * bench::most_documents(starts, t) : 0;
    const Tensor slab = arena_.take(DType::f32, {attention_slab_bytes(b, t, heads()) / 4});
    std::string reason;
    const auto cudnn = CudnnAttention::make(slab, {documents, true}, reason);
    const AttentionShape shape = attention_shape(qkv, first, heads(), out, lse);
    for (const bool backward : {false, true}) {
      AttentionCall call{shape, qkv, first, out, lse, {}, {}, {}};
      if (backward) call = {shape, qkv, first, out, lse, dout, delta, dqkv};
      if (cudnn && !cudnn->takes(call)) {
        reason = fmt::format("{} wants {} bytes of workspace, and {} are planned", cudnn->version(),
                             cudnn->slab_bytes(call), slab.bytes());
      }
      if (!cudnn || !cudnn->takes(call)) {
        print(backward, "cudnn", fmt::format("\"unmeasured\":{}", json_quote(reason)));
        continue;
      }
      print(backward, "cudnn",
            measured(backward, [&] { backward ? cudnn->backward(call, *stream_) : cudnn->forward(call, *stream_); }));
    }
  }

  const Settings s_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  std::unique_ptr<Ops> ops_;
  Stopwatch watch_;
  double copy_rate_ = 0;  // bytes a second, once measured
};

}  // namespace
}  // namespace sherd::cuda

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  args.insert(args.begin(), "gpu-ops-bench");
  try {
    sherd::cuda::Settings settings;
    const std::vector<sherd::Subcommand> offered{{.name = "gpu-ops-bench",
                                                  .summary = "memory-bound kernels and attention on a GPU, timed",
                                                  .fields = sherd::cuda::fields_of(settings)}};
    if (sherd::asks_for_text(args)) {
      fmt::print("{}", sherd::help_text(offered, args));
      return 0;
    }
    sherd::parse_command_line(offered, args);
    sherd::cuda::Bench(settings).run();
  } catch (const sherd::Error& e) {
    sherd::log::error("{}", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    sherd::log::error("{}", e.what());
    return 1;
  }
}
