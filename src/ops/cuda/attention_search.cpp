#include "attention_search.hpp"

#include <cmath>
#include <numeric>
#include <vector>

#include "cudnn_attention.hpp"
#include "search_probe.hpp"
#include "sherd/base/log.hpp"
#include "timed_search.hpp"

namespace sherd::cuda {
namespace {

using Verdict = AttentionTable::Verdict;
using Choice = AttentionTable::Choice;

/// Relative, in L2. Both round probabilities to bf16, which alone makes them differ by about 3e-3.
constexpr double kMostError = 1e-2;
/// Of any one token, whose size counts as at least the mean token's: far tokens weigh little in the sum over all.
constexpr double kMostErrorOfToken = 5e-2;
constexpr int kRepeats = 2;  // beside the first run

/// What a call writes.
struct Results {
  Tensor out, lse, dqkv;
  Results(const AttentionKey& key, Slab& slab)
      : out(slab.take(DType::bf16, key.batch * key.length, key.heads.query * key.heads.dim)),
        lse(slab.take(DType::f32, key.batch * key.length, key.heads.query)),
        dqkv(slab.take(DType::bf16, key.batch * key.length, key.heads.packed())) {}
  bool fit() const { return out && lse && dqkv; }
};

/// One shape in scratch memory.
struct Operands {
  Tensor starts, qkv, dout, delta, flag, sums;
  Results own, cudnn, again;

  Operands(const AttentionKey& key, Slab slab)
      : starts(slab.take(DType::i32, key.batch, key.length)),
        qkv(slab.take(DType::bf16, key.batch * key.length, key.heads.packed())),
        dout(slab.take(DType::bf16, key.batch * key.length, key.heads.query * key.heads.dim)),
        delta(slab.take(DType::f32, key.batch * key.length, key.heads.query)),
        flag(slab.take(DType::i32, 1, 1)),
        sums(slab.take(DType::f32, 2, key.batch * key.length)),
        own(key, slab),
        cudnn(key, slab),
        again(key, slab) {}
  bool fit() const { return starts && qkv && dout && delta && flag && sums && own.fit() && cudnn.fit() && again.fit(); }
};

/// As many documents as there may be, less one, so that an unused entry of cuDNN's table is met as well. In each row
/// the first takes half, and the rest are of about equal lengths: long ones and short ones, as in a corpus.
std::vector<std::int32_t> document_starts(const AttentionKey& key) {
  const std::int64_t most = key.documents == 0 ? key.batch : std::max(key.batch, key.documents - 1);
  std::vector<std::int32_t> starts;
  for (std::int64_t b = 0; b < key.batch; ++b) {
    const std::int64_t n = std::min(key.length, most / key.batch + (b < most % key.batch ? 1 : 0));
    const std::int64_t first = n == 1 ? key.length : std::min((key.length + 1) / 2, key.length - (n - 1));
    const std::int64_t rest = key.length - first;
    for (std::int64_t t = 0; t < key.length; ++t) {
      const std::int64_t document = t < first ? 0 : ((t - first + 1) * (n - 1) - 1) / rest;
      starts.push_back(narrow<std::int32_t>(t < first ? 0 : first + document * rest / (n - 1)));
    }
  }
  return starts;
}

class Comparison {
 public:
  /// `slab`: cudnn's.
  Comparison(const AttentionKey& key, const Operands& operands, CudnnAttention& cudnn, Tensor slab, Stream& s)
      : key_(key), x_(operands), cudnn_(cudnn), slab_(slab), stream_(s), starts_(document_starts(key)) {
    fill_unevenly(x_.qkv, s);
    fill_unevenly(x_.dout, s);
    CUDA_CHECK(cudaMemcpyAsync(x_.starts.data, starts_.data(), x_.starts.bytes(), cudaMemcpyHostToDevice, native(s)));
    own_attention(call(false, x_.own), s);  // the backward's inputs
    s.synchronize();
  }

  Choice of(bool backward) {
    const AttentionCall own = call(backward, x_.own), theirs = call(backward, x_.cudnn);
    Choice choice;
    choice.own = time(own, own_attention);
    if (const auto against = objection(backward)) {
      choice.verdict = *against;
      return choice;
    }
    choice.cudnn = time(theirs, [this](const AttentionCall& c, Stream& s) { by_cudnn(c, s); });
    choice.verdict = choice.cudnn < choice.own ? Verdict::faster : Verdict::slower;
    return choice;
  }

  /// What keeps cuDNN from computing this direction, if anything does.
  std::optional<Verdict> objection(bool backward) {
    const AttentionCall own = call(backward, x_.own), theirs = call(backward, x_.cudnn);
    try {
      if (!cudnn_.takes(theirs)) {
        say_refused(backward, cudnn_.slab_bytes(theirs));
        return Verdict::refused;
      }
      poison(x_.cudnn);
      by_cudnn(theirs, stream_);
      stream_.synchronize();
    } catch (const std::exception& e) {  // cudnn-frontend's, too
      log::warn("attention {}: {}", AttentionTask{key_, backward}.text(), e.what());
      return Verdict::uncompared;
    }
    own_attention(own, stream_);
    const bool right = backward ? same_gradients()
                                : same(by_token(x_.cudnn.out), by_token(x_.own.out)) &&
                                      same(by_token(x_.cudnn.lse), by_token(x_.own.lse));
    if (!right) return Verdict::wrong;
    if (!repeatable(backward)) return Verdict::unrepeatable;
    return std::nullopt;
  }

 private:
  /// The backward's inputs are always our forward's results.
  AttentionCall call(bool backward, const Results& to) const {
    const std::int64_t b = key_.batch, t = key_.length, width = key_.heads.query * key_.heads.dim;
    const auto rows = [&](const Tensor& x, std::int64_t cols) { return x.view({b, t, cols}); };
    const auto heads = [&](const Tensor& x) { return x.view({b, key_.heads.query, t}); };
    const Results& read = backward ? x_.own : to;
    const Tensor qkv = rows(x_.qkv, key_.heads.packed()), starts = x_.starts.view({b, t}), out = rows(read.out, width),
                 lse = heads(read.lse);
    AttentionCall made{attention_shape(qkv, starts, key_.heads, out, lse), qkv, starts, out, lse, {}, {}, {}};
    if (!backward) return made;
    made.dout = rows(x_.dout, width);
    made.delta = heads(x_.delta);
    made.dqkv = rows(to.dqkv, key_.heads.packed());
    return made;
  }

  void say_refused(bool backward, std::int64_t bytes) const {
    const std::string task = AttentionTask{key_, backward}.text();
    bytes == 0 ? log::info("attention {}: {} has no kernel for it", task, cudnn_.version())
               : log::info("attention {}: {} wants {} bytes for it, more than the plan's {}", task, cudnn_.version(),
                           bytes, slab_.bytes());
  }

  void by_cudnn(const AttentionCall& c, Stream& s) { c.dout ? cudnn_.backward(c, s) : cudnn_.forward(c, s); }

  template <class Kernel>
  double time(const AttentionCall& c, const Kernel& kernel) {
    return median_microseconds(watch_, native(stream_), [&] { kernel(c, stream_); });
  }

  /// NaN everywhere: what is not written is not right.
  void poison(const Results& to) {
    for (const Tensor& t : {to.out, to.lse, to.dqkv})
      CUDA_CHECK(cudaMemsetAsync(t.data, 0xff, t.bytes(), native(stream_)));
  }

  /// As many rows as the batch has tokens.
  Tensor by_token(const Tensor& x) const {
    const std::int64_t tokens = key_.batch * key_.length;
    return x.view({tokens, x.numel() / tokens});
  }

  /// Whether x (tokens, columns) is y but for rounding, as a whole and in each token. A NaN is not.
  bool same(const Tensor& x, const Tensor& y) {
    sum_squares(x, y, x_.sums, stream_);
    const auto tokens = static_cast<std::size_t>(x.rows());
    std::vector<float> sums(2 * tokens);
    CUDA_CHECK(cudaMemcpyAsync(sums.data(), x_.sums.data, x_.sums.bytes(), cudaMemcpyDeviceToHost, native(stream_)));
    stream_.synchronize();
    const std::span<const float> differences(sums.data(), tokens), sizes(sums.data() + tokens, tokens);
    const double size = std::accumulate(sizes.begin(), sizes.end(), 0.0), mean = size / static_cast<double>(tokens);
    bool right = std::sqrt(std::accumulate(differences.begin(), differences.end(), 0.0) / size) < kMostError;
    for (std::size_t i = 0; i < tokens; ++i)
      right = right && std::sqrt(differences[i] / std::max<double>(sizes[i], mean)) < kMostErrorOfToken;
    return right;
  }

  /// Of queries, keys and values each: their sizes differ too much for one sum.
  bool same_gradients() {
    const Heads& h = key_.heads;
    const auto part = [&](const Results& r, std::int64_t first, std::int64_t heads) {
      return r.dqkv.view({key_.batch * key_.length, h.packed()}).col_range(first * h.dim, heads * h.dim);
    };
    const auto same_part = [&](std::int64_t first, std::int64_t heads) {
      return same(part(x_.cudnn, first, heads), part(x_.own, first, heads));
    };
    return same_part(0, h.query) && same_part(h.query, h.kv) && same_part(h.query + h.kv, h.kv);
  }

  bool repeatable(bool backward) {
    std::int32_t differs = 0;
    CUDA_CHECK(cudaMemsetAsync(x_.flag.data, 0, sizeof differs, native(stream_)));
    for (int i = 0; i < kRepeats; ++i) {
      poison(x_.again);
      by_cudnn(call(backward, x_.again), stream_);
      const auto compare = [&](const Tensor& a, const Tensor& b) { compare_bits(a, b, x_.flag, stream_); };
      if (backward) {
        compare(x_.cudnn.dqkv, x_.again.dqkv);
      } else {
        compare(x_.cudnn.out, x_.again.out);
        compare(x_.cudnn.lse, x_.again.lse);
      }
    }
    CUDA_CHECK(cudaMemcpyAsync(&differs, x_.flag.data, sizeof differs, cudaMemcpyDeviceToHost, native(stream_)));
    stream_.synchronize();
    return differs == 0;
  }

  AttentionKey key_;
  Operands x_;
  CudnnAttention& cudnn_;
  Tensor slab_;
  Stream& stream_;
  std::vector<std::int32_t> starts_;
  Stopwatch watch_;
};

}  // namespace

AttentionTable compare_attentions(std::span<const AttentionKey> keys, Tensor slab, Tensor scratch, Stream& s) {
  AttentionTable table;
  for (const AttentionKey& key : keys) {
    for (const bool backward : {false, true}) table.set({key, backward}, {.verdict = Verdict::uncompared});
    const Operands operands(key, Slab(scratch));
    if (!operands.fit()) {
      log::info("attention {} is not compared, and ours computes it: its operands do not fit in {} bytes", key.text(),
                scratch.bytes());
      continue;
    }
    std::string reason;
    const auto cudnn = CudnnAttention::make(slab, {key.documents, true}, reason);
    if (!cudnn) {
      log::info("attention {} is not compared, and ours computes it: {}", key.text(), reason);
      continue;
    }
    Comparison comparison(key, operands, *cudnn, slab, s);
    for (const bool backward : {false, true}) table.set({key, backward}, comparison.of(backward));
    s.synchronize();
  }
  return table;
}

AttentionTable verified(AttentionTable table, Tensor slab, Tensor scratch, Stream& s) {
  const AttentionTable read = table;
  for (const auto& [task, choice] : read.all()) {
    if (!choice.by_cudnn()) continue;
    const Operands operands(task.key, Slab(scratch));
    std::string reason;
    const auto cudnn = CudnnAttention::make(slab, {task.key.documents, true}, reason);
    if (!operands.fit() || !cudnn) continue;  // it was chosen where there was room; PinnedAttention looks again
    Comparison comparison(task.key, operands, *cudnn, slab, s);
    if (const auto against = comparison.objection(task.backward)) table.set(task, {*against, choice.own, 0});
    s.synchronize();
  }
  return table;
}

}  // namespace sherd::cuda
