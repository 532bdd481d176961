#include "gemm_search.hpp"

#include <algorithm>

#include "gemm_probe.hpp"
#include "gemm_problem.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "timed_search.hpp"

namespace sherd::cuda {
namespace {

constexpr int kCandidates = 16, kRepeats = 3;

/// The operands of one shape in scratch memory, flat; `again` is a second output, `flag` (1) i32 on the device.
struct Operands {
  Tensor a, b, out, again, flag;

  Operands(const ProductKey& key, Slab slab)
      : a(slab.take(key.in, key.transpose_a ? key.k : key.m, key.a_stride)),
        b(slab.take(key.in, key.transpose_b ? key.n : key.k, key.b_stride)),
        out(slab.take(key.out, key.m, key.out_stride)),
        again(slab.take(key.out, key.m, key.out_stride)),
        flag(slab.take(DType::i32, 1, 1)) {}
  bool fit() const { return a && b && out && again && flag; }
};

class Search {
 public:
  Search(const ProductKey& key, const Operands& operands, Tensor workspace, cublasLtHandle_t handle, Stream& s)
      : key_(key), operands_(operands), workspace_(workspace), handle_(handle), stream_(s), problem_(key) {
    fill_unevenly(operands.a, s);
    fill_unevenly(operands.b, s);
    fill_unevenly(operands.out, s);
  }

  std::optional<GemmTable::Choice> best() {
    std::vector<std::pair<double, Algorithm>> timed;
    const Alignment round{256, 256, 256};
    for (const Algorithm& algorithm : problem_.candidates(handle_, round, workspace_.bytes(), kCandidates))
      if (const auto time = median(algorithm)) timed.emplace_back(*time, algorithm);
    std::sort(timed.begin(), timed.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    for (const auto& [time, algorithm] : timed) {
      if (!repeatable(algorithm)) continue;
      GemmTable::Choice choice{.microseconds = time};
      std::copy(std::begin(algorithm.algo.data), std::end(algorithm.algo.data), choice.algorithm.begin());
      return choice;
    }
    return std::nullopt;
  }

 private:
  bool run(const Algorithm& algorithm, const Tensor& out) {
    const Product product{.a = operands_.a, .b = operands_.b, .out = out, .beta = key_.accumulate ? 1.0f : 0.0f};
    return problem_.run(handle_, algorithm, product, workspace_, native(stream_)) == CUBLAS_STATUS_SUCCESS;
  }

  /// Microseconds; nothing if the algorithm does not run after all.
  std::optional<double> median(const Algorithm& algorithm) {
    if (!run(algorithm, operands_.out)) return std::nullopt;
    return median_microseconds(watch_, native(stream_), [&] { run(algorithm, operands_.out); });
  }

  /// The same bits every time? The library's promise, tested.
  bool repeatable(const Algorithm& algorithm) {
    std::int32_t differs = 0;
    CUDA_CHECK(cudaMemsetAsync(operands_.flag.data, 0, sizeof differs, native(stream_)));
    fill_unevenly(operands_.out, stream_);
    run(algorithm, operands_.out);
    for (int i = 0; i < kRepeats; ++i) {
      fill_unevenly(operands_.again, stream_);
      run(algorithm, operands_.again);
      compare_bits(operands_.out, operands_.again, operands_.flag, stream_);
    }
    CUDA_CHECK(cudaMemcpyAsync(&differs, operands_.flag.data, sizeof differs, cudaMemcpyDeviceToHost, native(stream_)));
    stream_.synchronize();
    if (differs != 0) log::debug("product {}: an algorithm whose bits change from run to run is left out", key_.text());
    return differs == 0;
  }

  ProductKey key_;
  Operands operands_;
  Tensor workspace_;
  cublasLtHandle_t handle_;
  Stream& stream_;
  GemmProblem problem_;
  Stopwatch watch_;
};

}  // namespace

GemmTarget current_target() {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  cudaDeviceProp facts{};
  CUDA_CHECK(cudaGetDeviceProperties(&facts, device));
  return {.device = facts.name,
          .compute_capability = 10 * facts.major + facts.minor,
          .multiprocessors = facts.multiProcessorCount,
          .library_version = narrow<std::int64_t>(cublas_lt().get_version())};
}

GemmTable search_products(std::span<const ProductKey> shapes, Tensor scratch, Tensor workspace, Stream& s) {
  const CublasLt& library = cublas_lt();
  cublasLtHandle_t made = nullptr;
  cublas_check(library.create(&made), "cublasLtCreate");
  const auto destroy = [&library](cublasLtHandle_t handle) { library.destroy(handle); };
  const std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, decltype(destroy)> handle(made, destroy);
  GemmTable table;
  for (const ProductKey& key : shapes) {
    const Operands operands(key, Slab(scratch));
    if (!operands.fit()) {
      log::info("product {} is not searched: its operands do not fit in {} bytes", key.text(), scratch.bytes());
      continue;
    }
    if (const auto choice = Search(key, operands, workspace, handle.get(), s).best()) table.set(key, *choice);
  }
  s.synchronize();
  return table;
}

}  // namespace sherd::cuda
