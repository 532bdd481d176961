#include "cudnn_documents.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "report.cuh"

namespace sherd::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;

struct Strides {
  std::int64_t of[kDocumentTensors];
};
struct Offsets {
  std::int64_t* of[kDocumentTensors];
};

/// Whether token n begins a document; reports a doc_start that continues none.
__device__ inline bool begins(const std::int32_t* doc_start, std::int64_t n, std::int64_t length, Trouble* trouble) {
  const std::int64_t t = n % length;
  if (doc_start[n] == t) return true;
  if (t == 0 || doc_start[n] != doc_start[n - 1]) report(trouble, Trouble::position, doc_start[n], n, t);
  return false;
}

/// One block of 1024 threads goes through the tokens, counting in their order: deterministic. Shared 128 bytes.
__global__ void __launch_bounds__(kThreads)
    documents_kernel(const std::int32_t* doc_start, std::int64_t tokens, std::int64_t length, Strides strides,
                     std::int64_t capacity, std::int32_t* starts, std::int32_t* lengths, Offsets offsets,
                     Trouble* trouble) {
  __shared__ int of_warp[kWarps];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < tokens; first += kThreads) {
    const std::int64_t n = first + thread;
    const bool start = n < tokens && begins(doc_start, n, length, trouble);
    const unsigned starting = __ballot_sync(kAllLanes, start);
    if (lane == 0) of_warp[warp] = __popc(starting);
    __syncthreads();
    int before = __popc(starting & ((1u << lane) - 1)), all = 0;
    for (int w = 0; w < kWarps; ++w) {
      before += w < warp ? of_warp[w] : 0;
      all += of_warp[w];
    }
    if (start && count + before <= capacity) starts[count + before] = static_cast<std::int32_t>(n);
    count += all;
    __syncthreads();  // of_warp has been read
  }
  if (count > capacity && thread == 0) report(trouble, Trouble::position, count, tokens, capacity);
  for (std::int64_t i = count + thread; i <= capacity; i += kThreads) starts[i] = static_cast<std::int32_t>(tokens);
  __syncthreads();  // starts are written
  for (std::int64_t i = thread; i <= capacity; i += kThreads) {
    if (i < capacity) lengths[i] = starts[i + 1] - starts[i];
    for (int j = 0; j < kDocumentTensors; ++j) offsets.of[j][i] = starts[i] * strides.of[j];
  }
}

/// to (B, cols, rows) = the transposes of from (B, rows, cols). Grid: blocks of 256 elements of `to`. Deterministic.
__global__ void transpose_kernel(const float* from, float* to, std::int64_t rows, std::int64_t cols, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const std::int64_t row = i % rows, rest = i / rows;
  to[i] = from[(rest / cols * rows + row) * cols + rest % cols];
}

void transpose(const char* op, Tensor from, Tensor to, Stream& s) {
  const std::int64_t rows = from.dim[1], cols = from.dim[2], n = from.numel();
  SHERD_CHECK(from.rank == 3 && to.rank == 3 && from.dim[0] == to.dim[0] && to.dim[1] == cols && to.dim[2] == rows,
              "{} as the transposes of {}", to.describe(), from.describe());
  launch(s, op, transpose_kernel, Grid{.x = div_up(n, 256)}, from.as<float>().data(), to.as<float>().data(), rows, cols,
         n);
}

}  // namespace

DocumentTable DocumentTable::at(std::byte* memory, std::int64_t capacity) {
  DocumentTable table{.capacity = capacity};
  auto* wide = reinterpret_cast<std::int64_t*>(memory);
  for (std::int64_t*& offsets : table.offsets) offsets = std::exchange(wide, wide + capacity + 1);
  table.starts = reinterpret_cast<std::int32_t*>(wide);
  table.lengths = table.starts + capacity + 1;
  return table;
}

void derive_documents(Tensor doc_start, const std::array<std::int64_t, kDocumentTensors>& strides,
                      const DocumentTable& table, Stream& s) {
  Strides by_value{};
  Offsets to{};
  for (std::size_t j = 0; j < kDocumentTensors; ++j) {
    by_value.of[j] = strides[j];
    to.of[j] = table.offsets[j];
  }
  launch(s, "derive_documents", documents_kernel, Grid{.threads = kThreads}, doc_start.as<std::int32_t>().data(),
         doc_start.numel(), doc_start.cols(), by_value, table.capacity, table.starts, table.lengths, to, trouble(s));
}

void lse_from_stats(Tensor stats, Tensor lse, Stream& s) {
  transpose("lse_from_stats", stats, lse, s);
}
void stats_from_lse(Tensor lse, Tensor stats, Stream& s) {
  transpose("stats_from_lse", lse, stats, s);
}

}  // namespace sherd::cuda
