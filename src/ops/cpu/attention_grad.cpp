// Causal attention in tiles, Dao, arXiv:2307.08691, backward. P = e^(scores - lse), dV = P^T dO, dP = dO V^T,
// dS = P (dP - delta) / sqrt(D), dQ = dS K, dK = dS^T Q. There are two ways, chosen by the shape alone:
// * One pass: a task owns all queries and keys of a key/value head, makes P and dS once per tile (5 products), and sums
//   dQ of the head's group in f32 scratch memory.
// * Two passes, where there are few heads or dQ is large: a task owns a tile of keys and sums dK and dV over the
// queries
//   and heads that see it, or owns a tile of queries and sums dQ over its keys. Each makes P and dS anew (7 products).
// Either way every sum has one owner and one order, whatever the number of threads.
#include <utility>

#include "attention_tile.hpp"
#include "ops.hpp"
#include "parallel.hpp"

namespace sherd::cpu {
namespace {

/// One worker's scratch memory, and its size in floats. Tiles of one head's queries and of one tile of keys.
struct Scratch {
  float *q, *dout;                  // (kQueries, D)
  float *keys, *keys_t, *values_t;  // (kKeys, D), transposed: (D, kKeys)
  float *p, *ds;                    // (kQueries, kKeys)
  float *sum_a, *sum_b;             // dK and dV of a tile of keys, or dQ of one head: (96, D)

  static std::int64_t floats(std::int64_t d) {
    return 2 * kQueries * padded(d) + kKeys * padded(d) + 2 * d * kKeys + 2 * kQueries * kKeys + 2 * kKeys * padded(d);
  }
  Scratch(float* at, std::int64_t d) {
    const auto take = [&at](std::int64_t count) { return std::exchange(at, at + count); };
    q = take(kQueries * padded(d));
    dout = take(kQueries * padded(d));
    keys = take(kKeys * padded(d));
    sum_a = take(kKeys * padded(d));
    sum_b = take(kKeys * padded(d));
    p = take(kQueries * kKeys);
    ds = take(kQueries * kKeys);
    keys_t = take(d * kKeys);
    values_t = take(d * kKeys);
  }
};
static_assert(kQueries == kKeys);  // sum_a and sum_b serve both

/// Floats of dQ (G, T, D) for one key/value head.
std::int64_t dq_floats(const AttentionShape& shape) {
  return shape.group() * shape.t * padded(shape.heads.dim);
}

/// Whether there are heads enough for one task each to be fast, and memory enough for 8 workers' dQ. The number of
/// threads has no say, for the two ways round differently.
bool in_one_pass(const AttentionShape& shape, std::int64_t workspace_floats) {
  return shape.b * shape.heads.kv >= 4 && (Scratch::floats(shape.heads.dim) + dq_floats(shape)) * 8 <= workspace_floats;
}

/// A run of rows [first, first + count) of one sequence.
struct Span {
  std::int64_t first, count;
  std::int64_t end() const { return first + count; }
};

/// scores and dp become P and dS; zero where unseen. `width` is a multiple of kMicroCols, as the first line tells the
/// compiler: the loop has no scalar tail.
void softmax_grad_row(float* scores, float* dp, Seen keys, std::int64_t width, float lse, float delta, float scale) {
  const std::int64_t n = width / kMicroCols * kMicroCols;
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    const float p = exp_f32_to_88(scores[j] * scale - lse);
    dp[j] = p * (dp[j] - delta) * scale;
    scores[j] = p;
  }
  if (keys.begin == 0 && keys.end == n) return;
  for (float* row : {scores, dp}) {
    std::fill(row, row + keys.begin, 0.0f);
    std::fill(row + keys.end, row + n, 0.0f);
  }
}

template <class A>
class Backward {
 public:
  Backward(const AttentionShape& shape, Tensor qkv, const std::int32_t* doc_start, Tensor dout, const float* lse,
           const float* delta, Tensor dqkv)
      : shape_(shape), qkv_(qkv), doc_start_(doc_start), dout_(dout), lse_(lse), delta_(delta), dqkv_(dqkv) {}

  /// dK, dV and dQ of one key/value head and the heads that read it. dq: scratch memory of dq_floats.
  void head_task(std::int64_t b, std::int64_t kv, const Scratch& s, float* dq) const {
    const std::int64_t size = shape_.t * padded(shape_.heads.dim);
    std::fill(dq, dq + shape_.group() * size, 0.0f);
    for (std::int64_t key = 0; key < shape_.t; key += kKeys)
      key_task(b, kv, {key, std::min(kKeys, shape_.t - key)}, s, dq);
    for (std::int64_t g = 0; g < shape_.group(); ++g)
      store_rows(dq + g * size, shape_.t, shape_.heads.dim, rows<A>(dqkv_, b, kv * shape_.group() + g, 0));
  }

  /// dK and dV of one tile of keys; what it gives to dQ is added to dq (G, T, D) unless that is null.
  void key_task(std::int64_t b, std::int64_t kv, Span keys, const Scratch& s, float* dq = nullptr) const {
    const std::int64_t d = shape_.heads.dim, stride = padded(d), key_head = shape_.heads.query + kv;
    load_keys(b, kv, keys, s);
    if (dq) load_rows(rows<const A>(qkv_, b, key_head, keys.first), keys.count, d, 1.0f, s.keys);
    std::fill(s.sum_a, s.sum_a + kKeys * stride, 0.0f);
    std::fill(s.sum_b, s.sum_b + kKeys * stride, 0.0f);
    for (std::int64_t first = keys.first; first < shape_.t; first += kQueries) {
      const Span queries{first, std::min(kQueries, shape_.t - first)};
      if (first_key(b, queries) >= keys.end()) continue;
      for (std::int64_t g = 0; g < shape_.group(); ++g) {
        load_queries(b, kv * shape_.group() + g, queries, s);
        scores(b, kv * shape_.group() + g, queries, keys, s);
        add_to_keys(queries, keys, s);
        if (dq) add_to_queries(queries, keys, s, dq + (g * shape_.t + first) * stride);
      }
    }
    store_rows(s.sum_a, keys.count, d, rows<A>(dqkv_, b, key_head, keys.first));
    store_rows(s.sum_b, keys.count, d, rows<A>(dqkv_, b, key_head + shape_.heads.kv, keys.first));
  }

  /// dQ of one tile of queries of one head.
  void query_task(std::int64_t b, std::int64_t head, Span queries, const Scratch& s) const {
    const std::int64_t d = shape_.heads.dim, stride = padded(d), kv = head / shape_.group();
    load_queries(b, head, queries, s);
    std::fill(s.sum_a, s.sum_a + kQueries * stride, 0.0f);
    for (std::int64_t key = first_key(b, queries); key < queries.end(); key += kKeys) {
      const Span keys{key, std::min(kKeys, queries.end() - key)};
      load_keys(b, kv, keys, s);
      load_rows(rows<const A>(qkv_, b, shape_.heads.query + kv, key), keys.count, d, 1.0f, s.keys);
      scores(b, head, queries, keys, s);
      add_to_queries(queries, keys, s, s.sum_a);
    }
    store_rows(s.sum_a, queries.count, d, rows<A>(dqkv_, b, head, queries.first));
  }

 private:
  template <class T>
  Rows<T> rows(const Tensor& packed, std::int64_t b, std::int64_t head, std::int64_t t) const {
    Rows<T> r = head_rows<T>(shape_, packed, b, head);
    r.data += t * r.stride;
    return r;
  }
  std::int64_t first_key(std::int64_t b, Span queries) const {
    const std::int32_t* start = doc_start_ + b * shape_.t;
    return *std::min_element(start + queries.first, start + queries.end());
  }
  void load_keys(std::int64_t b, std::int64_t kv, Span keys, const Scratch& s) const {
    const std::int64_t head = shape_.heads.query + kv;
    load_transposed(rows<const A>(qkv_, b, head, keys.first), keys.count, shape_.heads.dim, s.keys_t);
    load_transposed(rows<const A>(qkv_, b, head + shape_.heads.kv, keys.first), keys.count, shape_.heads.dim,
                    s.values_t);
  }
  void load_queries(std::int64_t b, std::int64_t head, Span queries, const Scratch& s) const {
    load_rows(rows<const A>(qkv_, b, head, queries.first), queries.count, shape_.heads.dim, 1.0f, s.q);
    load_rows(rows<const A>(dout_, b, head, queries.first), queries.count, shape_.heads.dim, 1.0f, s.dout);
  }

  /// How many keys of the tile the queries before `end` can see.
  static std::int64_t visible(std::int64_t end, Span keys) {
    return std::clamp<std::int64_t>(end - keys.first, 0, keys.count);
  }

  /// P and dS of one tile, in strips; a strip makes no key beyond its last query, rounded up to kMicroCols.
  void scores(std::int64_t b, std::int64_t head, Span queries, Span keys, const Scratch& s) const {
    const std::int64_t d = shape_.heads.dim, stride = padded(d), at = (b * shape_.heads.query + head) * shape_.t;
    for (std::int64_t i = 0; i < queries.count; i += kStrip) {
      const std::int64_t count = std::min(kStrip, queries.count - i), t = queries.first + i;
      const std::int64_t width = round_up(visible(t + count, keys), kMicroCols);
      float *p = s.p + i * kKeys, *ds = s.ds + i * kKeys;
      tile_product<false>(count, width, d, s.q + i * stride, stride, s.keys_t, kKeys, p, kKeys, false);
      tile_product<false>(count, width, d, s.dout + i * stride, stride, s.values_t, kKeys, ds, kKeys, false);
      for (std::int64_t r = 0; r < count; ++r)
        softmax_grad_row(p + r * kKeys, ds + r * kKeys,
                         seen(t + r, doc_start_[b * shape_.t + t + r], keys.first, keys.count), width, lse_[at + t + r],
                         delta_[at + t + r], shape_.scale);
    }
  }

  /// dK and dV of the tile += dS^T Q and P^T dO, in strips of keys; a strip takes no query before its first key. Both
  /// tiles begin at multiples of kStrip, so that strips of keys end where `scores` ends strips of queries.
  void add_to_keys(Span queries, Span keys, const Scratch& s) const {
    const std::int64_t stride = padded(shape_.heads.dim);
    for (std::int64_t key = 0; key < keys.count; key += kStrip) {
      const std::int64_t i = std::clamp<std::int64_t>(keys.first + key - queries.first, 0, queries.count);
      const std::int64_t count = std::min(kStrip, keys.count - key), at = i * kKeys + key;
      tile_product<true>(count, stride, queries.count - i, s.ds + at, kKeys, s.q + i * stride, stride,
                         s.sum_a + key * stride, stride, true);
      tile_product<true>(count, stride, queries.count - i, s.p + at, kKeys, s.dout + i * stride, stride,
                         s.sum_b + key * stride, stride, true);
    }
  }

  /// dq (queries, D) += dS K, in the strips of `scores`.
  void add_to_queries(Span queries, Span keys, const Scratch& s, float* dq) const {
    const std::int64_t stride = padded(shape_.heads.dim);
    for (std::int64_t i = 0; i < queries.count; i += kStrip) {
      const std::int64_t count = std::min(kStrip, queries.count - i);
      tile_product<false>(count, stride, visible(queries.first + i + count, keys), s.ds + i * kKeys, kKeys, s.keys,
                          stride, dq + i * stride, stride, true);
    }
  }

  AttentionShape shape_;
  Tensor qkv_;
  const std::int32_t* doc_start_;
  Tensor dout_;
  const float *lse_, *delta_;
  Tensor dqkv_;
};

/// delta (B, H, T) = the row sums of dout out.
template <class A>
void row_sums(const AttentionShape& shape, const Tensor& dout, const Tensor& out, float* delta) {
  const std::int64_t d = shape.heads.dim, h = shape.heads.query;
  const auto a = rows_of<const A>(dout), b = rows_of<const A>(out);
  for_blocks(shape.b * shape.t, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      for (std::int64_t head = 0; head < h; ++head) {
        const A *x = a[n] + head * d, *y = b[n] + head * d;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t j = 0; j < d; ++j) sum += to_f32(x[j]) * to_f32(y[j]);
        delta[(n / shape.t * h + head) * shape.t + n % shape.t] = sum;
      }
  });
}

template <class A>
void run_one_pass(const Backward<A>& backward, const AttentionShape& shape, Tensor workspace) {
  const std::int64_t scratch = Scratch::floats(shape.heads.dim), floats = scratch + dq_floats(shape);
  const std::int64_t workers = std::min<std::int64_t>(threads(), workspace.numel() / floats);
  for_tasks(shape.b * shape.heads.kv, workers, [&](std::int64_t task, std::int64_t worker) {
    float* const memory = workspace.ptr<float>() + worker * floats;
    backward.head_task(task / shape.heads.kv, task % shape.heads.kv, Scratch(memory, shape.heads.dim),
                       memory + scratch);
  });
}

/// All tasks of both kinds, the longest first.
template <class A>
void run_two_passes(const Backward<A>& backward, const AttentionShape& shape, Tensor workspace) {
  const std::int64_t tiles = div_up(shape.t, kKeys), floats = Scratch::floats(shape.heads.dim);
  const std::int64_t kv_rows = shape.b * shape.heads.kv, rows = kv_rows + shape.b * shape.heads.query;
  const std::int64_t workers = std::min<std::int64_t>(threads(), workspace.numel() / floats);
  for_tasks(tiles * rows, workers, [&](std::int64_t task, std::int64_t worker) {
    const Scratch s(workspace.ptr<float>() + worker * floats, shape.heads.dim);
    const std::int64_t tile = task / rows, row = task % rows;
    const auto span = [&](std::int64_t i) { return Span{i * kKeys, std::min(kKeys, shape.t - i * kKeys)}; };
    if (row < kv_rows) {
      backward.key_task(row / shape.heads.kv, row % shape.heads.kv, span(tile), s);
    } else {
      const std::int64_t head = row - kv_rows;
      backward.query_task(head / shape.heads.query, head % shape.heads.query, span(tiles - 1 - tile), s);
    }
  });
}

}  // namespace

void OpsImpl::attention_grad(Tensor dout, Tensor qkv, Tensor doc_start, Heads heads, Tensor out, Tensor lse,
                             Tensor delta, Tensor dqkv, Stream& s) {
  const AttentionShape shape = attention_shape(qkv, doc_start, heads, out, lse);
  check_attention_grad(dout, qkv, out, lse, delta, dqkv);
  SHERD_CHECK(Scratch::floats(heads.dim) <= workspace_.numel(), "heads of {}", heads.dim);
  enqueue(s, "attention_grad", access({dout, qkv, doc_start, out, lse}, {delta, dqkv, workspace_}),
          [=, workspace = workspace_] {
            with_float_type(qkv.dtype, [&](auto type) {
              using A = decltype(type);
              row_sums<A>(shape, dout, out, delta.ptr<float>());
              const Backward<A> backward(shape, qkv, doc_start.ptr<std::int32_t>(), dout, lse.ptr<float>(),
                                         delta.ptr<float>(), dqkv);
              in_one_pass(shape, workspace.numel()) ? run_one_pass(backward, shape, workspace)
                                                    : run_two_passes(backward, shape, workspace);
            });
          });
}

}  // namespace sherd::cpu
