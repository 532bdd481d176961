// Products of bf16 operands with f32 sums through oneDNN's matmul primitives, on CPUs that have bf16 dot products.
#include <map>
#include <tuple>

#include "gemm.hpp"
#include "one_thread.hpp"
#include "onednn.hpp"
#include "ops.hpp"
#include "parallel.hpp"

namespace sherd::cpu {
namespace {

/// All that a primitive depends on: shape, strides, layouts, output dtype, beta.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, bool,
                       DType, float>;

struct Primitive {
  dnnl::memory::desc a, b, c, scratch;
  dnnl::matmul run;
};

dnnl::memory::desc layout(std::int64_t rows, std::int64_t cols, std::int64_t stride, bool transposed, DType dtype) {
  using Type = dnnl::memory::data_type;
  const dnnl::memory::dims strides = transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1};
  return {{rows, cols}, dtype == DType::bf16 ? Type::bf16 : Type::f32, strides};
}

Primitive make(const RawProduct& p, std::int64_t rows, std::int64_t cols, const dnnl::engine& engine) {
  Primitive made;
  made.a = layout(rows, p.k, p.a.stride, p.a.transposed, DType::bf16);
  made.b = layout(p.k, cols, p.b.stride, p.b.transposed, DType::bf16);
  made.c = layout(rows, cols, p.c_stride, false, p.out);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (p.beta != 0) {
    dnnl::post_ops sum;
    sum.append_sum(p.beta);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc description = describe_matmul(engine, made.a, made.b, made.c, attributes);
  made.scratch = description.scratchpad_desc();
  made.run = dnnl::matmul(description);
  return made;
}

/// The first element of block (i, j) of an operand's (rows, columns).
void* block_of(const Operand& o, std::int64_t i, std::int64_t j) {
  const std::int64_t at = o.transposed ? j * o.stride + i : i * o.stride + j;
  return const_cast<std::byte*>(o.data) + 2 * at;  // the library's handles are not const
}

}  // namespace

struct Bf16Products::Cache {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::map<Key, Primitive> primitives;

  const Primitive& find(const RawProduct& p, std::int64_t rows, std::int64_t cols) {
    const Key key{rows, cols, p.k, p.a.stride, p.b.stride, p.c_stride, p.a.transposed, p.b.transposed, p.out, p.beta};
    const auto found = primitives.find(key);
    if (found != primitives.end()) return found->second;
    const OneThread guard;  // a primitive is planned for the threads that will run it
    return primitives.emplace(key, make(p, rows, cols, engine)).first->second;
  }
};

Bf16Products::Bf16Products() {
  const auto has = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  if ((has & wanted) == wanted) cache_ = std::make_unique<Cache>();
}
Bf16Products::~Bf16Products() = default;

void Bf16Products::multiply(const RawProduct& p, const Blocks& blocks, Tensor workspace) {
  const std::int64_t last_rows = p.m - (blocks.down - 1) * blocks.rows;
  const std::int64_t last_cols = p.n - (blocks.across - 1) * blocks.cols;
  const Primitive* primitive[2][2];  // [last row of blocks][last column of blocks]
  std::size_t scratch = 64;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      primitive[i][j] = &cache_->find(p, i || blocks.down == 1 ? last_rows : blocks.rows,
                                      j || blocks.across == 1 ? last_cols : blocks.cols);
      scratch = std::max(scratch, primitive[i][j]->scratch.get_size());
    }
  scratch = (scratch + 4095) / 4096 * 4096;
  const std::int64_t workers =
      std::min<std::int64_t>(threads(), static_cast<std::int64_t>(workspace.bytes() / scratch));
  SHERD_CHECK(workers > 0, "a product of ({}, {}, {}) wants {} bytes of scratch memory", p.m, p.n, p.k, scratch);
  for_tasks(blocks.down * blocks.across, workers, [&](std::int64_t task, std::int64_t worker) {
    const OneThread guard;
    const std::int64_t i = task % blocks.down, j = task / blocks.down;
    const Primitive& block = *primitive[i == blocks.down - 1][j == blocks.across - 1];
    dnnl::stream stream(cache_->engine);
    const auto memory = [&](const dnnl::memory::desc& d, void* at) { return dnnl::memory(d, cache_->engine, at); };
    std::byte* const c = p.c + (i * blocks.rows * p.c_stride + j * blocks.cols) * std::int64_t(size_of(p.out));
    block.run.execute(stream, {{DNNL_ARG_SRC, memory(block.a, block_of(p.a, i * blocks.rows, 0))},
                               {DNNL_ARG_WEIGHTS, memory(block.b, block_of(p.b, 0, j * blocks.cols))},
                               {DNNL_ARG_DST, memory(block.c, c)},
                               {DNNL_ARG_SCRATCHPAD,
                                memory(block.scratch, workspace.data + static_cast<std::size_t>(worker) * scratch)}});
    stream.wait();
  });
}

}  // namespace sherd::cpu
