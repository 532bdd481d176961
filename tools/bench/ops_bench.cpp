// The CPU's Ops at SmolLM-135M's shapes, one micro-batch of 4 x 512 tokens. Counters: GF/s for products and attention
// (the operations that causality leaves), GB/s of necessary traffic for the rest.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <memory>
#include <string>
#include <vector>

#include "sherd/device/cpu/device.hpp"
#include "sherd/ops/ops.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kB = 4, kT = 512, kN = kB * kT, kC = 576, kF = 1536, kV = 49152, kChunk = 512;
constexpr Heads kHeads{9, 3, 64};

class Bench {
 public:
  explicit Bench(benchmark::State& state)
      : act(state.range(0) != 0 ? DType::bf16 : DType::f32),
        state_(state),
        device_({.schedule = Schedule::in_order, .threads = omp_get_max_threads()}),
        stream(device_.stream("compute", StreamKind::compute)),
        arena_(device_.arena("bench", std::size_t{1} << 30)),
        ops(make_ops(arena_.take(DType::f32, {kWorkspaceBytes / 4}))) {
    set_threads(device_.options().threads);
  }
  Tensor tensor(std::initializer_list<std::int64_t> shape) { return tensor(act, shape); }
  Tensor tensor(DType dtype, std::initializer_list<std::int64_t> shape) {
    const Tensor t = arena_.take(dtype, shape);
    for (std::int64_t i = 0; i < t.numel(); ++i) {  // of -1/2 to 1/2, in no order
      const float value = static_cast<float>(static_cast<std::uint32_t>(i) * 2654435761u) * 0x1p-32f - 0.5f;
      if (dtype == DType::f32) t.ptr<float>()[i] = value;
      if (dtype == DType::bf16) t.ptr<bf16>()[i] = bf16(value);
    }
    return t;
  }
  Tensor zeros(DType dtype, std::initializer_list<std::int64_t> shape) { return arena_.take(dtype, shape); }

  template <class Op>
  void run(double flops, double bytes, const Op& op) {
    op();
    for (auto _ : state_) op();
    using benchmark::Counter;
    if (flops > 0) state_.counters["GF/s"] = Counter(flops / 1e9, Counter::kIsIterationInvariantRate);
    if (bytes > 0) state_.counters["GB/s"] = Counter(bytes / 1e9, Counter::kIsIterationInvariantRate);
  }
  double width() const { return static_cast<double>(size_of(act)); }

  DType act;

 private:
  benchmark::State& state_;
  Device device_;

 public:
  std::unique_ptr<Stream> stream;

 private:
  Arena arena_;

 public:
  std::unique_ptr<Ops> ops;
};

void gemm_rate(benchmark::State& state) {
  Bench b(state);
  double rate = 0;
  for (auto _ : state) rate = std::max(rate, measure_gemm_rate(b.act));
  state.counters["GF/s"] = rate / 1e9;
}

/// kind: 0 y = x w^T, 1 dx = dy w, 2 dw += dy^T x.
void linear(benchmark::State& state, int kind, std::int64_t out, std::int64_t in) {
  Bench b(state);
  const Tensor x = b.tensor({kN, in}), w = b.tensor({out, in}), y = b.tensor({kN, out});
  const Tensor dw = b.zeros(DType::f32, {out, in});
  b.run(2.0 * kN * static_cast<double>(out * in), 0, [&] {
    if (kind == 0) b.ops->linear(x, w, y, *b.stream);
    if (kind == 1) b.ops->linear_grad_input(y, w, x, 0, *b.stream);
    if (kind == 2) b.ops->linear_grad_weight(y, x, dw, 1, *b.stream);
  });
}

void attention(benchmark::State& state, bool grad, std::int64_t t) {
  Bench b(state);
  const std::int64_t rows = kN / t, width = kHeads.query * kHeads.dim;
  const Tensor qkv = b.tensor({rows, t, kHeads.packed()}), starts = b.zeros(DType::i32, {rows, t});
  const Tensor out = b.tensor({rows, t, width}), dout = b.tensor({rows, t, width}),
               dqkv = b.tensor({rows, t, kHeads.packed()});
  const Tensor lse = b.zeros(DType::f32, {rows, kHeads.query, t}), delta = b.zeros(DType::f32, {rows, kHeads.query, t});
  b.ops->attention(qkv, starts, kHeads, out, lse, *b.stream);
  const double product = static_cast<double>(rows * width) * static_cast<double>(t * t);  // half of 2 T^2 D per head
  b.run((grad ? 5 : 2) * product, 0, [&] {
    if (grad) {
      b.ops->attention_grad(dout, qkv, starts, kHeads, out, lse, delta, dqkv, *b.stream);
    } else {
      b.ops->attention(qkv, starts, kHeads, out, lse, *b.stream);
    }
  });
}

void rmsnorm_residual(benchmark::State& state) {
  Bench b(state);
  const Tensor x = b.tensor({kN, kC}), branch = b.tensor({kN, kC}), gain = b.tensor({kC}), y = b.tensor({kN, kC});
  const Tensor sum = b.tensor({kN, kC}), rstd = b.zeros(DType::f32, {kN});
  b.run(0, 4.0 * kN * kC * b.width(),
        [&] { b.ops->rmsnorm_residual(x, branch, gain, 1e-5f, sum, y, rstd, *b.stream); });
}

void rmsnorm_grad(benchmark::State& state) {
  Bench b(state);
  const Tensor x = b.tensor({kN, kC}), dy = b.tensor({kN, kC}), gain = b.tensor({kC}), dx = b.zeros(b.act, {kN, kC});
  const Tensor rstd = b.zeros(DType::f32, {kN}), dgain = b.zeros(DType::f32, {kC});
  b.run(0, 4.0 * kN * kC * b.width(), [&] { b.ops->rmsnorm_grad(dy, x, gain, rstd, dx, dgain, 1, *b.stream); });
}

void rope(benchmark::State& state) {
  Bench b(state);
  const Tensor qkv = b.tensor({kB, kT, kHeads.packed()}), starts = b.zeros(DType::i32, {kB, kT});
  const Tensor table = b.zeros(DType::f32, {kT, kHeads.dim / 2, 2});
  b.ops->rope_table({}, table, *b.stream);
  b.run(0, 2.0 * kN * 12 * 64 * b.width(), [&] { b.ops->rope(qkv, starts, table, kHeads, false, *b.stream); });
}

void swiglu(benchmark::State& state, bool grad) {
  Bench b(state);
  const Tensor gate_up = b.tensor({kN, 2 * kF}), out = b.tensor({kN, kF}), dgate_up = b.tensor({kN, 2 * kF});
  b.run(0, (grad ? 5.0 : 3.0) * kN * kF * b.width(), [&] {
    if (grad) {
      b.ops->swiglu_grad(out, gate_up, dgate_up, *b.stream);
    } else {
      b.ops->swiglu(gate_up, out, *b.stream);
    }
  });
}

void embedding(benchmark::State& state, bool grad) {
  Bench b(state);
  const Tensor tokens = b.zeros(DType::i32, {kN}), table = b.tensor({kV, kC}), out = b.tensor({kN, kC});
  const Tensor dtable = b.zeros(DType::f32, {kV, kC});
  for (std::int64_t i = 0; i < kN; ++i) tokens.ptr<std::int32_t>()[i] = static_cast<std::int32_t>(i * 7919 % kV);
  b.run(0, (grad ? 8.0 + b.width() : 2 * b.width()) * kN * kC, [&] {
    if (grad) {
      b.ops->embedding_grad(out, tokens, dtable, *b.stream);
    } else {
      b.ops->embedding(tokens, table, out, *b.stream);
    }
  });
}

void cross_entropy(benchmark::State& state) {
  Bench b(state);
  Ops::CrossEntropy a;
  a.x = b.tensor({kN, kC}), a.w = b.tensor({kV, kC}), a.targets = b.zeros(DType::i32, {kN});
  a.logits = b.zeros(DType::f32, {kChunk, kV});
  a.dlogits = b.act == DType::f32 ? a.logits : b.zeros(b.act, {kChunk, kV});
  a.loss = b.zeros(DType::f32, {1}), a.divisor = b.tensor(DType::f32, {1});
  a.dx = b.tensor({kN, kC}), a.dw = b.zeros(DType::f32, {kV, kC});
  b.run(6.0 * kN * kC * kV, 0, [&] { b.ops->linear_cross_entropy(a, *b.stream); });
}

void adamw(benchmark::State& state, DType moments) {
  Bench b(state);
  const std::int64_t kS = 20'000'000;
  const auto scalar = [&] { return b.tensor(DType::f32, {1}); };
  const AdamWState s{b.zeros(DType::f32, {kS}), b.zeros(DType::f32, {kS}), b.zeros(moments, {kS}),
                     b.zeros(moments, {kS}), b.act == DType::bf16 ? b.zeros(b.act, {kS}) : Tensor{}};
  const AdamWScalars scalars{scalar(), scalar(), scalar(), scalar(), b.zeros(DType::i32, {2})};
  const std::vector<DecayRun> runs{{0, kS, 0.1f}};
  const double bytes = (b.act == DType::bf16 ? 14.0 : 12.0) + 4.0 * static_cast<double>(size_of(moments));
  b.run(0, bytes * static_cast<double>(kS), [&] { b.ops->adamw(s, runs, {}, scalars, *b.stream); });
}

void squared_norm(benchmark::State& state) {
  Bench b(state);
  const Tensor x = b.zeros(b.act, {20'000'000}), out = b.zeros(DType::f32, {1});
  b.run(0, 2e7 * b.width(), [&] { b.ops->squared_norm(x, out, *b.stream); });
}

template <class Fn>
void add(const char* name, Fn fn) {
  benchmark::RegisterBenchmark(name, fn)->ArgName("bf16")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);
}

void add_all() {
  using State = benchmark::State;
  benchmark::RegisterBenchmark("gemm_rate", gemm_rate)->ArgName("bf16")->Arg(0)->Arg(1)->Iterations(3);
  struct Layer {
    const char* name;
    std::int64_t out, in;
  };
  static constexpr const char* kKinds[] = {"forward", "input_grad", "weight_grad"};
  for (const Layer& l : {Layer{"qkv", 960, kC}, {"out", kC, kC}, {"gate_up", 2 * kF, kC}, {"down", kC, kF}})
    for (int kind = 0; kind < 3; ++kind)
      add((std::string("linear/") + l.name + "/" + kKinds[kind]).c_str(),
          [=](State& s) { linear(s, kind, l.out, l.in); });
  add("attention/forward/T512", [](State& s) { attention(s, false, 512); });
  add("attention/grad/T512", [](State& s) { attention(s, true, 512); });
  add("attention/forward/T2048", [](State& s) { attention(s, false, 2048); });
  add("attention/grad/T2048", [](State& s) { attention(s, true, 2048); });
  add("rmsnorm_residual", rmsnorm_residual);
  add("rmsnorm_grad", rmsnorm_grad);
  add("rope", rope);
  add("swiglu", [](State& s) { swiglu(s, false); });
  add("swiglu_grad", [](State& s) { swiglu(s, true); });
  add("embedding", [](State& s) { embedding(s, false); });
  add("embedding_grad", [](State& s) { embedding(s, true); });
  add("linear_cross_entropy", cross_entropy);
  add("adamw", [](State& s) { adamw(s, DType::f32); });
  add("adamw/moments_bf16", [](State& s) { adamw(s, DType::bf16); });
  add("squared_norm", squared_norm);
}

}  // namespace
}  // namespace sherd::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  sherd::cpu::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
