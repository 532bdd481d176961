// Causal attention in tiles, Dao, arXiv:2307.08691, forward. One task is kQueries queries of all heads that share a
// key/value head: per tile of keys, scores, a running softmax (largest score m, sum l) and the product with the values,
// strip by strip, so that the scores stay in L1. Sums in f32, in order of the keys.
#include <cmath>
#include <limits>

#include "attention_tile.hpp"
#include "ops.hpp"
#include "parallel.hpp"

namespace sherd::cpu {
namespace {

/// One worker's scratch memory, and its size in floats.
struct Scratch {
  float *q, *o, *m, *l;           // (G, kQueries, D), the same, (G, kQueries), (G, kQueries)
  float *keys, *values, *scores;  // (D, kKeys) transposed, (kKeys, D), (kStrip, kKeys)

  static std::int64_t floats(std::int64_t group, std::int64_t d) {
    return 2 * group * kQueries * (padded(d) + 1) + d * kKeys + kKeys * padded(d) + kStrip * kKeys;
  }
  Scratch(float* at, std::int64_t group, std::int64_t d) {
    const auto take = [&at](std::int64_t count) { return std::exchange(at, at + count); };
    q = take(group * kQueries * padded(d));
    o = take(group * kQueries * padded(d));
    keys = take(d * kKeys);
    values = take(kKeys * padded(d));
    scores = take(kStrip * kKeys);
    m = take(group * kQueries);
    l = take(group * kQueries);
  }
};

/// One row of scores becomes e^(score - m), zero where unseen; m, l and the row of o follow a new largest score.
/// `width` and `stride` are multiples of kMicroCols, as the first lines tell the compiler: no loop has a scalar tail.
void softmax_row(float* scores, Seen keys, std::int64_t width, float& m, float& l, float* o, std::int64_t stride) {
  const std::int64_t n = width / kMicroCols * kMicroCols, d = stride / kMicroCols * kMicroCols;
  const auto fill_unseen = [&](float value) {
    std::fill(scores, scores + keys.begin, value);
    std::fill(scores + keys.end, scores + n, value);
  };
  const bool whole = keys.begin == 0 && keys.end == n;
  if (keys.begin == keys.end) return std::fill(scores, scores + n, 0.0f);
  if (!whole) fill_unseen(-std::numeric_limits<float>::infinity());
  float top = m;
#pragma omp simd reduction(max : top)
  for (std::int64_t j = 0; j < n; ++j) top = scores[j] > top ? scores[j] : top;
  if (top > m) {
    const float shrink = exp_f32_to_88(m - top);
    m = top;
    l *= shrink;
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) o[j] *= shrink;
  }
  float sum = 0;  // the unseen add e^-87.3 to it, which is nothing beside the 1 of the largest score in l
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) {
    scores[j] = exp_f32_to_88(scores[j] - top);
    sum += scores[j];
  }
  l += sum;
  if (!whole) fill_unseen(0.0f);
}

template <class A>
class Forward {
 public:
  Forward(const AttentionShape& shape, Tensor qkv, const std::int32_t* doc_start, Tensor out, float* lse)
      : shape_(shape), qkv_(qkv), doc_start_(doc_start), out_(out), lse_(lse) {}

  /// Queries [first, last) of row b, heads that read key/value head kv.
  void run(std::int64_t b, std::int64_t kv, std::int64_t first, std::int64_t last, const Scratch& s) const {
    const std::int64_t d = shape_.heads.dim, group = shape_.group(), size = kQueries * padded(d);
    const std::int32_t* start = doc_start_ + b * shape_.t;
    std::fill(s.o, s.o + group * size, 0.0f);
    std::fill(s.l, s.l + group * kQueries, 0.0f);
    std::fill(s.m, s.m + group * kQueries, -std::numeric_limits<float>::infinity());
    for (std::int64_t g = 0; g < group; ++g)
      load_rows(rows(b, kv * group + g, first), last - first, d, shape_.scale, s.q + g * size);
    for (std::int64_t key = *std::min_element(start + first, start + last); key < last; key += kKeys) {
      const std::int64_t count = std::min(kKeys, last - key);
      load_transposed(rows(b, shape_.heads.query + kv, key), count, d, s.keys);
      load_rows(rows(b, shape_.heads.query + shape_.heads.kv + kv, key), count, d, 1.0f, s.values);
      for (std::int64_t g = 0; g < group; ++g) add_keys(g, start, first, last, key, count, s);
    }
    for (std::int64_t g = 0; g < group; ++g) finish(b, kv * group + g, g, first, last, s);
  }

 private:
  Rows<const A> rows(std::int64_t b, std::int64_t head, std::int64_t t) const {
    Rows<const A> r = head_rows<const A>(shape_, qkv_, b, head);
    r.data += t * r.stride;
    return r;
  }

  /// One tile of keys for one head of the group, in strips; a strip takes no key beyond its last query.
  void add_keys(std::int64_t g, const std::int32_t* start, std::int64_t first, std::int64_t last, std::int64_t key,
                std::int64_t count, const Scratch& s) const {
    const std::int64_t d = shape_.heads.dim, stride = padded(d);
    for (std::int64_t t = first; t < last; t += kStrip) {
      const std::int64_t end = std::min(last, t + kStrip), visible = std::min(count, end - key);
      if (visible <= 0) continue;
      const std::int64_t row = g * kQueries + t - first;
      const std::int64_t width = round_up(visible, kMicroCols);
      tile_product<false>(end - t, width, d, s.q + row * stride, stride, s.keys, kKeys, s.scores, kKeys, false);
      for (std::int64_t i = 0; i < end - t; ++i)
        softmax_row(s.scores + i * kKeys, seen(t + i, start[t + i], key, visible), width, s.m[row + i], s.l[row + i],
                    s.o + (row + i) * stride, stride);
      tile_product<false>(end - t, stride, visible, s.scores, kKeys, s.values, stride, s.o + row * stride, stride,
                          true);
    }
  }

  void finish(std::int64_t b, std::int64_t head, std::int64_t g, std::int64_t first, std::int64_t last,
              const Scratch& s) const {
    const Rows<A> out = head_rows<A>(shape_, out_, b, head);
    float* lse = lse_ + (b * shape_.heads.query + head) * shape_.t;
    for (std::int64_t t = first; t < last; ++t) {
      const std::int64_t row = g * kQueries + t - first;
      const float inverse = 1.0f / s.l[row], *o = s.o + row * padded(shape_.heads.dim);
      A* to = out[t];
#pragma omp simd
      for (std::int64_t j = 0; j < shape_.heads.dim; ++j) to[j] = from_f32<A>(o[j] * inverse);
      lse[t] = s.m[row] + std::log(s.l[row]);
    }
  }

  AttentionShape shape_;
  Tensor qkv_;
  const std::int32_t* doc_start_;
  Tensor out_;
  float* lse_;
};

}  // namespace

void OpsImpl::attention(Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse, Stream& s) {
  const AttentionShape shape = attention_shape(qkv, doc_start, heads, out, lse);
  const std::int64_t floats = Scratch::floats(shape.group(), heads.dim);
  SHERD_CHECK(floats <= workspace_.numel(), "{} query heads for a key head of {}", shape.group(), heads.dim);
  enqueue(s, "attention", access({qkv, doc_start}, {out, lse, workspace_}), [=, workspace = workspace_] {
    with_float_type(qkv.dtype, [&](auto type) {
      const Forward<decltype(type)> forward(shape, qkv, doc_start.ptr<std::int32_t>(), out, lse.ptr<float>());
      const std::int64_t tiles = div_up(shape.t, kQueries), rows = shape.b * heads.kv;
      const std::int64_t workers = std::min<std::int64_t>(threads(), workspace.numel() / floats);
      for_tasks(tiles * rows, workers, [&](std::int64_t task, std::int64_t worker) {
        // A head's tiles follow each other, so that its keys and values stay in L2; the longest first.
        const std::int64_t first = (tiles - 1 - task % tiles) * kQueries, row = task / tiles;
        forward.run(row / heads.kv, row % heads.kv, first, std::min(shape.t, first + kQueries),
                    Scratch(workspace.ptr<float>() + worker * floats, shape.group(), heads.dim));
      });
    });
  });
}

}  // namespace sherd::cpu
