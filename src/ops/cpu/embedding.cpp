// Embedding: rows of a table by token, and the gradient, summed in f32 per token in token order.
#include <cstring>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "rows.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kColumns = 256;  // columns of a running sum: registers and L1

void check_token(std::int32_t token, std::int64_t position, std::int64_t v) {
  if (token < 0 || token >= v)
    throw bad_input("token {} at position {}, but the vocabulary has {} entries: is this the model's tokenizer?", token,
                    position, v);
}

/// order (N) = (token, position) in one integer each, sorted: the rows of one token lie together, in token order.
void sort_by_token(const std::int32_t* tokens, std::int64_t n, std::int64_t v, std::uint64_t* order) {
  for (std::int64_t i = 0; i < n; ++i) {
    check_token(tokens[i], i, v);
    order[i] = static_cast<std::uint64_t>(tokens[i]) << 32 | static_cast<std::uint64_t>(i);
  }
  std::sort(order, order + n);
}

/// to (C) += the rows of dout listed in [first, last).
template <class A, class G>
void add_rows(Rows<const A> dout, const std::uint64_t* first, const std::uint64_t* last, G* to, std::int64_t c) {
  float sum[kColumns];
  for (std::int64_t column = 0; column < c; column += kColumns) {
    const std::int64_t width = std::min(kColumns, c - column);
    std::fill(sum, sum + width, 0.0f);
    for (const std::uint64_t* at = first; at < last; ++at) {
      const A* row = dout[static_cast<std::int64_t>(*at & 0xffffffffu)] + column;
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) sum[i] += to_f32(row[i]);
    }
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) to[column + i] = from_f32<G>(to_f32(to[column + i]) + sum[i]);
  }
}

/// A run of one token belongs to the block in which it begins.
template <class A, class G>
void add_tokens(Rows<const A> dout, const std::uint64_t* order, std::int64_t n, Rows<G> dtable, std::int64_t c) {
  for_blocks(n, 32, [&](std::int64_t begin, std::int64_t end) {
    while (begin > 0 && begin < end && order[begin] >> 32 == order[begin - 1] >> 32) ++begin;
    while (begin < end) {
      std::int64_t last = begin + 1;
      while (last < n && order[last] >> 32 == order[begin] >> 32) ++last;
      add_rows<A, G>(dout, order + begin, order + last, dtable[static_cast<std::int64_t>(order[begin] >> 32)], c);
      begin = last;
    }
  });
}

}  // namespace

void OpsImpl::embedding(Tensor tokens, Tensor table, Tensor out, Stream& s) {
  check_embedding(tokens, table, out);
  enqueue(s, "embedding", access({tokens, table}, {out}), [tokens, table, out] {
    const std::int32_t* token = tokens.ptr<std::int32_t>();
    const std::size_t bytes = static_cast<std::size_t>(table.cols()) * size_of(table.dtype);
    const std::int64_t from_stride = table.row_stride * static_cast<std::int64_t>(size_of(table.dtype));
    const std::int64_t to_stride = out.row_stride * static_cast<std::int64_t>(size_of(table.dtype));
    for_blocks(tokens.numel(), 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        check_token(token[i], i, table.rows());
        std::memcpy(out.data + i * to_stride, table.data + token[i] * from_stride, bytes);
      }
    });
  });
}

void OpsImpl::embedding_grad(Tensor dout, Tensor tokens, Tensor dtable, Stream& s) {
  check_embedding_grad(dout, tokens, dtable);
  const std::int64_t n = tokens.numel(), c = dtable.cols();
  SHERD_CHECK(2 * n <= workspace_.numel(), "embedding_grad of {} tokens", n);
  enqueue(s, "embedding_grad", access({dout, tokens}, {dtable, workspace_}), [=, workspace = workspace_] {
    auto* order = reinterpret_cast<std::uint64_t*>(workspace.data);
    sort_by_token(tokens.ptr<std::int32_t>(), n, dtable.rows(), order);
    with_float_type(dout.dtype, [&](auto a) {
      with_float_type(dtable.dtype, [&](auto g) {
        using A = decltype(a);
        using G = decltype(g);
        add_tokens<A, G>(rows_of<const A>(dout), order, n, rows_of<G>(dtable), c);
      });
    });
  });
}

}  // namespace sherd::cpu
