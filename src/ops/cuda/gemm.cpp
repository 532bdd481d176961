#include "gemm.hpp"

#include <unordered_map>

#include "gemm_plain.hpp"
#include "gemm_problem.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {
namespace {

/// What an algorithm depends on: the shape, and how round the addresses are.
struct PlanKey {
  ProductKey shape;
  Alignment aligned;
  bool operator==(const PlanKey&) const = default;
};
struct HashOfPlanKey {
  std::size_t operator()(const PlanKey& key) const {
    const ProductKey& p = key.shape;
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const std::int64_t x : {p.m, p.n, p.k, p.a_stride, p.b_stride, p.out_stride,
                                 std::int64_t{key.aligned.a | key.aligned.b << 10 | key.aligned.out << 20},
                                 std::int64_t{p.transpose_a} | p.transpose_b << 1 | p.accumulate << 2 |
                                     static_cast<int>(p.in) << 3 | static_cast<int>(p.out) << 6}) {
      hash = (hash ^ static_cast<std::uint64_t>(x)) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

struct Plan {
  GemmProblem problem;
  std::optional<Algorithm> algorithm;  // none: the plain kernel
};

void require_version(std::size_t found) {
  if (found / 10000 == CUBLAS_VER_MAJOR) return;
  throw usage_error("--device cuda: cuBLASLt is of version {}, this program was built for {}; use one of CUDA {}",
                    found, CUBLAS_VERSION, CUBLAS_VER_MAJOR);
}

}  // namespace

struct Gemm::Impl {
  explicit Impl(Tensor slab) : workspace(slab), library(cublas_lt()) {
    SHERD_CHECK(slab && reinterpret_cast<std::uintptr_t>(slab.data) % 256 == 0, "workspace of products {}",
                slab.describe());
    require_version(library.get_version());
    cublas_check(library.create(&handle), "cublasLtCreate");
  }
  ~Impl() { library.destroy(handle); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Plan& plan(const PlanKey& key, const Product& product);
  std::optional<Algorithm> choose(const GemmProblem& problem, const PlanKey& key) const;

  Tensor workspace;
  const CublasLt& library;
  cublasLtHandle_t handle = nullptr;
  GemmTable table;
  std::unordered_map<PlanKey, Plan, HashOfPlanKey> plans;
};

std::optional<Algorithm> Gemm::Impl::choose(const GemmProblem& problem, const PlanKey& key) const {
  if (const GemmTable::Choice* choice = table.find(key.shape); choice && choice->any()) {
    std::string reason;
    if (auto pinned = problem.restored(handle, choice->algorithm, key.aligned, workspace.bytes(), reason))
      return pinned;
    log::warn("product {}: its pinned algorithm is refused ({}), so cuBLASLt's first guess computes it",
              key.shape.text(), reason);
  }
  const std::vector<Algorithm> found = problem.candidates(handle, key.aligned, workspace.bytes(), 8);
  if (!found.empty()) return found.front();
  log::warn("product {}: cuBLASLt {} has no algorithm for it, so a plain and slow kernel computes it", key.shape.text(),
            library.get_version());
  return std::nullopt;
}

Plan& Gemm::Impl::plan(const PlanKey& key, const Product& product) {
  const auto at = plans.find(key);
  if (at != plans.end()) return at->second;
  Plan made{GemmProblem(key.shape), std::nullopt};
  made.problem.set_scales(product);
  made.algorithm = choose(made.problem, key);
  return plans.emplace(key, std::move(made)).first->second;
}

Gemm::Gemm(Tensor workspace) : impl_(std::make_unique<Impl>(workspace)) {}
Gemm::~Gemm() = default;

void Gemm::multiply(const Product& product, const char* op, Stream& s) {
  const ProductKey key = key_of(product, op);
  if (key.m == 0 || key.n == 0) return;
  if (key.k == 0) return multiply_plainly(product, key, op, s);
  const Plan& plan = impl_->plan({key, alignment_of(product)}, product);
  if (!plan.algorithm) return multiply_plainly(product, key, op, s);
  will_run(s);
  const cublasStatus_t rc = plan.problem.run(impl_->handle, *plan.algorithm, product, impl_->workspace, native(s));
  if (rc != CUBLAS_STATUS_SUCCESS) {
    throw Error(ExitCode::internal, fmt::format("{}: cublasLtMatmul of {} failed: {} (cuBLASLt {})", op, key.text(),
                                                impl_->library.status_name(rc), impl_->library.get_version()));
  }
  ran(s, op);
}

void Gemm::pin(GemmTable table) {
  impl_->table = std::move(table);
  impl_->plans.clear();
}

}  // namespace sherd::cuda
