// The memory of cuDNN's attention, as a function of the shape alone, so that a plan knows it without cuDNN, a GPU or a
// corpus. What it counts is the workspace of cuDNN 9.26's deterministic backward of packed documents on an H100, as its
// own plans have it (docs/gpu/cudnn.md). Other versions and devices may want more, and a corpus may have shorter
// documents: then cuDNN refuses when the run starts (CudnnAttention::takes), and ours computes.
#include "cudnn_documents.hpp"
#include "sherd/ops/cuda/ops.hpp"

namespace sherd::cuda {

std::int64_t attention_slab_bytes(std::int64_t batch, std::int64_t length, Heads heads) {
  constexpr std::int64_t kShortest = 16;  // tokens of a document, on average, in the batch that has the most of them
  const std::int64_t tokens = checked_mul(batch, length), documents = div_up(tokens, kShortest) + batch;
  const std::int64_t rows = checked_mul(4 * tokens, heads.query);  // a number in f32 per query: log-sum-exp, delta
  const std::int64_t queries = checked_mul(rows, heads.dim);       // dQ in f32
  // Where heads share keys, cuDNN has gradients of keys per query head first: 5 + 2 H / K + 2 K / H times queries'.
  const std::int64_t gradients = heads.query == heads.kv ? 3 * queries
                                                         : checked_mul(queries, 5 + 2 * div_up(heads.query, heads.kv)) +
                                                               2 * div_up(queries, heads.query) * heads.kv;
  const std::int64_t turns = checked_mul(documents, heads.query * length / 8 + 1024);  // for the order of dQ's sums
  constexpr std::int64_t kRest = 1 << 20;                                              // the pieces' alignment
  return round_up(gradients + 3 * rows + turns + DocumentTable::bytes(documents) + kRest, 256);
}

}  // namespace sherd::cuda
