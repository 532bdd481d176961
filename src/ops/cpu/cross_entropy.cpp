// Output projection and cross entropy over chunks of tokens. N tokens, R tokens of a chunk, C width, V vocabulary.
// loss += sum of (lse - logit[target]) / divisor; dlogits = (softmax - onehot) / divisor; dx = dlogits w; dw =
// dlogits^T x.
#include <cmath>
#include <vector>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

float largest(const float* x, std::int64_t v) {
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (std::int64_t i = 0; i < v; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

/// Sum of e^(x - top), in f32 over runs of 1024 and in f64 over the runs; kStore keeps the terms in x.
template <bool kStore>
double exponentials(float* x, float top, std::int64_t v) {
  double total = 0;
  for (std::int64_t begin = 0; begin < v; begin += 1024) {
    const std::int64_t end = std::min(v, begin + 1024);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) {
      const float e = exp_f32(x[i] - top);
      if constexpr (kStore) x[i] = e;
      sum += e;
    }
    total += sum;
  }
  return total;
}

/// The loss of one row, undivided; if dlogits is given also its gradient. logits (V) is overwritten then; dlogits may
/// be logits.
template <class A>
double loss_row(float* logits, std::int32_t target, float divisor, A* dlogits, std::int64_t v) {
  const float top = largest(logits, v), wanted = logits[target];
  if (!dlogits) return std::log(exponentials<false>(logits, top, v)) + top - wanted;
  const double total = exponentials<true>(logits, top, v);
  const auto factor = static_cast<float>(1.0 / (total * divisor));
  const float at_target = (logits[target] / static_cast<float>(total) - 1.0f) / divisor;
#pragma omp simd
  for (std::int64_t i = 0; i < v; ++i) dlogits[i] = from_f32<A>(logits[i] * factor);
  dlogits[target] = from_f32<A>(at_target);
  return std::log(total) + top - wanted;
}

/// All rows of one chunk; returns the sum of their losses, in row order.
template <class A>
double loss_rows(Rows<float> logits, const std::int32_t* targets, float divisor, Rows<A> dlogits, std::int64_t rows,
                 std::int64_t v) {
  std::vector<double> losses(static_cast<std::size_t>(rows));
  for_blocks(rows, 1, [&](std::int64_t r, std::int64_t) {
    if (targets[r] >= 0) {
      losses[static_cast<std::size_t>(r)] =
          loss_row<A>(logits[r], targets[r], divisor, dlogits ? dlogits[r] : nullptr, v);
    } else if (dlogits) {
      std::fill(dlogits[r], dlogits[r] + v, A(0));
    }
  });
  double sum = 0;
  for (double loss : losses) sum += loss;
  return sum;
}

void check_targets(const std::int32_t* targets, std::int64_t n, std::int64_t v) {
  for (std::int64_t i = 0; i < n; ++i)
    if (targets[i] >= v)
      throw bad_input("target {} at position {}, but the vocabulary has {} entries: is this the model's tokenizer?",
                      targets[i], i, v);
}

}  // namespace

void OpsImpl::linear_cross_entropy(const CrossEntropy& args, Stream& s) {
  check_cross_entropy(args);
  const Tensor none;
  const bool grad = bool(args.dx);
  Access touched = access({args.x, args.w, args.targets, args.divisor},
                          {args.logits, grad ? args.dlogits : none, args.loss, args.dx, args.dw, workspace_});
  const std::int64_t n = args.targets.numel(), v = args.w.rows();
  enqueue(s, "linear_cross_entropy", std::move(touched), [=, this] {
    const std::int32_t* targets = args.targets.ptr<std::int32_t>();
    const float divisor = *args.divisor.ptr<float>();
    check_targets(targets, n, v);
    double loss = 0;
    for (std::int64_t first = 0; first < n; first += args.logits.rows()) {
      const CrossEntropyChunk chunk = cross_entropy_chunk(args, first);
      gemm_.multiply(chunk.logits, "linear_cross_entropy");
      with_float_type(args.x.dtype, [&](auto type) {
        using A = decltype(type);
        loss += loss_rows<A>(rows_of<float>(args.logits), targets + first, divisor,
                             grad ? rows_of<A>(args.dlogits) : Rows<A>{}, chunk.rows, v);
      });
      if (!grad) continue;
      gemm_.multiply(chunk.dx, "linear_cross_entropy");
      gemm_.multiply(chunk.dw, "linear_cross_entropy");
    }
    *args.loss.ptr<float>() = static_cast<float>(*args.loss.ptr<float>() + loss / divisor);
  });
}

}  // namespace sherd::cpu
