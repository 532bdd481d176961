#include "gemm_search.hpp"

#include <algorithm>

#include "gemm_problem.hpp"
#include "search_probe.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "timed_search.hpp"

namespace sherd::cuda {
namespace {

constexpr int kCandidates = 16, kRepeats = 3;

/// The operands of one shape in scratch memory, flat; `again` is a second output, `flag` (1) i32 on the device, `scale`
/// (1) f32 that of both operands in eight bits.
struct Operands {
  Tensor a, b, out, again, flag, scale;

  Operands(const ProductKey& key, Slab slab)
      : a(slab.take(key.in, key.transpose_a ? key.k : key.m, key.a_stride)),
        b(slab.take(key.b_in(), key.transpose_b ? key.n : key.k, key.b_stride)),
        out(slab.take(key.out, key.m, key.out_stride)),
        again(slab.take(key.out, key.m, key.out_stride)),
        flag(slab.take(DType::i32, 1, 1)),
        scale(slab.take(DType::f32, 1, 1)) {}
  bool fit() const { return a && b && out && again && flag && scale; }
};

class LibraryHandle {
 public:
  LibraryHandle() { cublas_check(cublas_lt().create(&handle_), "cublasLtCreate"); }
  ~LibraryHandle() { cublas_lt().destroy(handle_); }
  LibraryHandle(const LibraryHandle&) = delete;
  LibraryHandle& operator=(const LibraryHandle&) = delete;
  cublasLtHandle_t get() const { return handle_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

class Search {
 public:
  Search(const ProductKey& key, const Operands& operands, Tensor workspace, cublasLtHandle_t handle, Stream& s)
      : key_(key), operands_(operands), workspace_(workspace), handle_(handle), stream_(s), problem_(key) {
    fill_unevenly(operands.a, s);
    fill_unevenly(operands.b, s);
    fill_unevenly(operands.out, s);
    static constexpr float kOne = 1;  // lives as long as the copy takes
    CUDA_CHECK(cudaMemcpyAsync(operands.scale.data, &kOne, sizeof kOne, cudaMemcpyHostToDevice, native(s)));
    problem_.set_scales(product(operands.out));
  }

  bool takes(const AlgorithmBytes& bytes) {
    std::string reason;
    const auto algorithm = problem_.restored(handle_, bytes, kRound, workspace_.bytes(), reason);
    return algorithm && repeatable(*algorithm);
  }

  GemmTable::Choice best() {
    std::vector<std::pair<double, Algorithm>> timed;
    for (const Algorithm& algorithm : problem_.candidates(handle_, kRound, workspace_.bytes(), kCandidates))
      if (const auto time = median(algorithm)) timed.emplace_back(*time, algorithm);
    std::sort(timed.begin(), timed.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    for (const auto& [time, algorithm] : timed) {
      if (!repeatable(algorithm)) continue;
      GemmTable::Choice choice{.microseconds = time};
      std::copy(std::begin(algorithm.algo.data), std::end(algorithm.algo.data), choice.algorithm.begin());
      return choice;
    }
    return {};
  }

 private:
  static constexpr Alignment kRound{256, 256, 256};

  Product product(const Tensor& out) const {
    Product made{.a = operands_.a, .b = operands_.b, .out = out, .beta = key_.accumulate ? 1.0f : 0.0f};
    if (is_f8(key_.in)) made.a_scale = made.b_scale = operands_.scale;
    return made;
  }
  bool run(const Algorithm& algorithm, const Tensor& out) {
    return problem_.run(handle_, algorithm, product(out), workspace_, native(stream_)) == CUBLAS_STATUS_SUCCESS;
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
    if (!run(algorithm, operands_.out)) return false;
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

GemmTable verified(const GemmTable& table, Tensor scratch, Tensor workspace, Stream& s) {
  const LibraryHandle handle;
  GemmTable good;
  for (const auto& [key, choice] : table.all()) {
    const Operands operands(key, Slab(scratch));
    std::string reason;
    const Alignment round{256, 256, 256};
    const bool takes =
        !choice.any() ||
        (operands.fit()
             ? Search(key, operands, workspace, handle.get(), s).takes(choice.algorithm)
             : GemmProblem(key).restored(handle.get(), choice.algorithm, round, workspace.bytes(), reason).has_value());
    if (takes) good.set(key, choice);
  }
  s.synchronize();
  return good;
}

GemmTable search_products(std::span<const ProductKey> shapes, Tensor scratch, Tensor workspace, Stream& s) {
  const LibraryHandle handle;
  GemmTable table;
  for (const ProductKey& key : shapes) {
    const Operands operands(key, Slab(scratch));
    if (operands.fit()) {
      table.set(key, Search(key, operands, workspace, handle.get(), s).best());
    } else {
      log::info("product {} is not searched: its operands do not fit in {} bytes", key.text(), scratch.bytes());
      table.set(key, {});
    }
  }
  s.synchronize();
  return table;
}

}  // namespace sherd::cuda
