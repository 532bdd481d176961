#include "cudnn_attention.hpp"

#include <cuda_runtime.h>
#include <cudnn_frontend.h>

#include <cstdlib>
#include <map>
#include <unordered_map>

#include "cudnn_documents.hpp"
#include "library.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // what its dynamic loading mode wants defined
}

namespace sherd::cuda {
namespace {

namespace fe = cudnn_frontend;
using Attributes = fe::graph::Tensor_attributes;
using TensorOfGraph = std::shared_ptr<Attributes>;

constexpr std::size_t kLeastVersion = 91200;  // 9.12: earlier ones have known wrong results (cudnn-frontend's lists)
constexpr std::size_t kLeastPackedVersion = 92500;  // 9.25: sequences of length 0

/// For cudnn-frontend, which asks the environment (cudnn_attention.hpp). Before main, since no other thread may be
/// reading the environment meanwhile.
[[maybe_unused]] const int kLimited = ::setenv("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", "0", 0);

std::string version_text(std::size_t version) {
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

/// Names of tensors in graphs. kOffsets + x names x's ragged offsets.
enum Uid : std::int64_t { kQ = 1, kK, kV, kOut, kStats, kDout, kDq, kDk, kDv, kLengthsQ, kLengthsKv, kOffsets = 100 };
/// Columns of the document table.
enum Column : std::size_t { kQkvColumn, kOutColumn, kDqkvColumn, kDoutColumn, kStatsColumn };

/// All that a plan depends on. Strides: elements from a token to the next.
struct PlanKey {
  std::int64_t batch = 0, length = 0, query = 0, kv = 0, dim = 0;
  std::array<std::int64_t, kDocumentTensors> strides{};
  std::int64_t documents = 0;  // 0: a dense batch
  bool backward = false, deterministic = true;
  int capability = 0;  // 90: 9.0
  auto operator<=>(const PlanKey&) const = default;

  std::int64_t tokens() const { return batch * length; }
  std::string text() const {
    return fmt::format("attention{} B {} T {} H {} K {} D {} documents {}", backward ? "'s gradient" : "", batch,
                       length, query, kv, dim, documents);
  }
};

std::int64_t stride_of(const Tensor& t) {
  return !t ? 0 : t.rows() > 1 ? t.row_stride : t.cols();
}
/// cuDNN moves 16 bytes at a time and checks nothing.
bool in_packs(const Tensor& t) {
  return !t || (reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0 && stride_of(t) % 8 == 0);
}

/// Attention as a graph of cudnn-frontend.
class Description {
 public:
  explicit Description(const PlanKey& key) : key_(key), graph_(std::make_shared<fe::graph::Graph>()) {
    graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT)
        .set_sm_version(key.capability);
    key.backward ? backward() : forward();
  }
  std::shared_ptr<fe::graph::Graph> graph() const { return graph_; }

 private:
  bool packed() const { return key_.documents > 0; }
  std::int64_t sequences() const { return packed() ? key_.documents : key_.batch; }

  TensorOfGraph integers(std::int64_t uid, std::int64_t count, fe::DataType_t type) {
    return graph_->tensor(
        Attributes().set_uid(uid).set_dim({count, 1, 1, 1}).set_stride({1, 1, 1, 1}).set_data_type(type));
  }
  /// t is (sequences, heads, T, D), a token's heads side by side.
  TensorOfGraph shaped(TensorOfGraph t, Uid uid, std::int64_t heads, Column column) {
    const std::int64_t stride = key_.strides[column];
    t->set_uid(uid).set_dim({sequences(), heads, key_.length, key_.dim});
    t->set_stride({key_.length * stride, key_.dim, stride, 1}).set_data_type(fe::DataType_t::BFLOAT16);
    return ragged(t, uid);
  }
  TensorOfGraph ragged(TensorOfGraph t, Uid uid) {
    if (packed()) t->set_ragged_offset(integers(kOffsets + uid, key_.documents + 1, fe::DataType_t::INT64));
    return t;
  }
  TensorOfGraph input(Uid uid, std::int64_t heads, Column column) {
    return shaped(graph_->tensor(Attributes()), uid, heads, column);
  }
  /// The log-sum-exp: dense it is (B, H, T), packed (B T, H), which both directions are known to take.
  TensorOfGraph statistics(TensorOfGraph t) {
    t->set_uid(kStats).set_data_type(fe::DataType_t::FLOAT).set_dim({sequences(), key_.query, key_.length, 1});
    const std::int64_t h = key_.query, l = key_.length;
    packed() ? t->set_stride({l * h, 1, h, 1}) : t->set_stride({h * l, l, 1, 1});
    return ragged(t, kStats);
  }
  template <class Options>
  Options options() {
    Options out;
    out.set_attn_scale(1.0f / std::sqrt(static_cast<float>(key_.dim)));
    out.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    if (packed()) {
      out.set_padding_mask(true)
          .set_seq_len_q(integers(kLengthsQ, key_.documents, fe::DataType_t::INT32))
          .set_seq_len_kv(integers(kLengthsKv, key_.documents, fe::DataType_t::INT32));
    }
    return out;
  }

  void forward() {
    auto how = options<fe::graph::SDPA_attributes>();
    how.set_name("attention").set_generate_stats(true);
    const auto [out, stats] = graph_->sdpa(input(kQ, key_.query, kQkvColumn), input(kK, key_.kv, kQkvColumn),
                                           input(kV, key_.kv, kQkvColumn), how);
    shaped(out, kOut, key_.query, kOutColumn)->set_output(true);
    statistics(stats)->set_output(true);
  }

  void backward() {
    auto how = options<fe::graph::SDPA_backward_attributes>();
    how.set_name("attention_grad").set_deterministic_algorithm(key_.deterministic);
    if (packed()) how.set_max_total_seq_len_q(key_.tokens()).set_max_total_seq_len_kv(key_.tokens());
    const auto [dq, dk, dv] =
        graph_->sdpa_backward(input(kQ, key_.query, kQkvColumn), input(kK, key_.kv, kQkvColumn),
                              input(kV, key_.kv, kQkvColumn), input(kOut, key_.query, kOutColumn),
                              input(kDout, key_.query, kDoutColumn), statistics(graph_->tensor(Attributes())), how);
    shaped(dq, kDq, key_.query, kDqkvColumn)->set_output(true);
    shaped(dk, kDk, key_.kv, kDqkvColumn)->set_output(true);
    shaped(dv, kDv, key_.kv, kDqkvColumn)->set_output(true);
  }

  PlanKey key_;
  std::shared_ptr<fe::graph::Graph> graph_;
};

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;  // null: cuDNN does not take it
  std::int64_t workspace = 0;
};

void cudnn_check(fe::error_t status, const char* what) {
  if (status.is_good()) return;
  throw Error(ExitCode::internal,
              fmt::format("cuDNN {}: {} failed: {}", fe::detail::get_backend_version(), what, status.get_message()));
}

class Cudnn final : public CudnnAttention {
 public:
  Cudnn(Tensor slab, Settings settings)
      : slab_(slab), settings_(settings), version_(fe::detail::get_backend_version()) {
    SHERD_CHECK(slab && reinterpret_cast<std::uintptr_t>(slab.data) % 256 == 0, "slab of cuDNN {}", slab.describe());
    int device = 0, major = 0, minor = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    capability_ = 10 * major + minor;
    const cudnnStatus_t rc = fe::detail::create_handle(&handle_);
    SHERD_CHECK(rc == CUDNN_STATUS_SUCCESS, "cudnnCreate failed: {}", static_cast<int>(rc));
  }
  ~Cudnn() override {
    plans_.clear();
    fe::detail::destroy_handle(handle_);
  }
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  std::int64_t slab_bytes(const AttentionCall& call) override {
    if (call.qkv.dtype != DType::bf16 || !in_packs(call.qkv) || !in_packs(call.out) || !in_packs(call.dout) ||
        !in_packs(call.dqkv))
      return 0;
    const PlanKey key = key_of(call);
    const Plan& plan = plan_of(key);
    return plan.graph == nullptr ? 0 : workspace_at(key) + plan.workspace;
  }
  bool takes(const AttentionCall& call) override {
    const std::int64_t needed = slab_bytes(call);
    return needed > 0 && needed <= static_cast<std::int64_t>(slab_.bytes());
  }

  void forward(const AttentionCall& call, Stream& s) override {
    const PlanKey key = key_of(call);
    if (settings_.documents > 0) derive_documents(call.doc_start, key.strides, table(), s);
    execute(call, key, "attention", s);
    if (settings_.documents > 0) lse_from_stats(stats(call), by_head(call.lse, call), s);
  }
  void backward(const AttentionCall& call, Stream& s) override {
    const PlanKey key = key_of(call);
    if (settings_.documents > 0) {
      derive_documents(call.doc_start, key.strides, table(), s);
      stats_from_lse(by_head(call.lse, call), stats(call), s);
    }
    execute(call, key, "attention_grad", s);
  }

  std::string version() const override { return version_text(version_); }

 private:
  PlanKey key_of(const AttentionCall& call) const {
    const Heads& heads = call.shape.heads;
    return {
        .batch = call.shape.b,
        .length = call.shape.t,
        .query = heads.query,
        .kv = heads.kv,
        .dim = heads.dim,
        .strides = {stride_of(call.qkv), stride_of(call.out), stride_of(call.dqkv), stride_of(call.dout), heads.query},
        .documents = settings_.documents,
        .backward = static_cast<bool>(call.dout),
        .deterministic = settings_.deterministic,
        .capability = capability_};
  }

  // The slab: the document table, the statistics token by token (both only if packed), the workspace.
  DocumentTable table() const { return DocumentTable::at(slab_.data, settings_.documents); }
  std::byte* stats_data() const { return slab_.data + DocumentTable::bytes(settings_.documents); }
  Tensor stats(const AttentionCall& call) const {
    return Tensor::make(stats_data(), DType::f32, {call.shape.b, call.shape.t, call.shape.heads.query});
  }
  static Tensor by_head(const Tensor& lse, const AttentionCall& call) {
    return lse.view({call.shape.b, call.shape.heads.query, call.shape.t});
  }
  static std::int64_t workspace_at(const PlanKey& key) {
    if (key.documents == 0) return 1;  // 1: needing nothing is not the same as not taking
    return DocumentTable::bytes(key.documents) + round_up(4 * key.tokens() * key.query, 256);
  }

  const Plan& plan_of(const PlanKey& key) {
    const auto at = plans_.find(key);
    return at != plans_.end() ? at->second : plans_.emplace(key, build(key)).first->second;
  }

  Plan build(const PlanKey& key) {
    if (key.documents > 0 && version_ < kLeastPackedVersion) {
      log::debug("{}: {} takes no packed documents, 9.25 does", key.text(), version());
      return {};
    }
    try {
      Plan plan{.graph = Description(key).graph()};
      fe::error_t status = plan.graph->build(handle_, {fe::HeurMode_t::A});
      if (status.is_good()) status = plan.graph->get_workspace_size(plan.workspace);
      if (status.is_good()) return plan;
      log::debug("{}: {} does not take it: {}", key.text(), version(), status.get_message());
    } catch (const std::exception& e) {  // cudnn-frontend throws, too
      log::debug("{}: {} does not take it: {}", key.text(), version(), e.what());
    }
    return {};
  }

  std::unordered_map<std::int64_t, void*> pointers(const AttentionCall& call) const {
    const std::int64_t k = call.shape.heads.query * call.shape.heads.dim,
                       v = k + call.shape.heads.kv * call.shape.heads.dim;
    const auto column = [](const Tensor& t, std::int64_t first) { return t.data + 2 * first; };
    const bool packed = settings_.documents > 0;
    std::unordered_map<std::int64_t, void*> out{{kQ, column(call.qkv, 0)},
                                                {kK, column(call.qkv, k)},
                                                {kV, column(call.qkv, v)},
                                                {kOut, call.out.data},
                                                {kStats, packed ? stats_data() : call.lse.data}};
    if (call.dout) {
      out.insert({{kDout, call.dout.data},
                  {kDq, column(call.dqkv, 0)},
                  {kDk, column(call.dqkv, k)},
                  {kDv, column(call.dqkv, v)}});
    }
    if (packed) {
      const DocumentTable t = table();
      out.insert({{kLengthsQ, t.lengths},
                  {kLengthsKv, t.lengths},
                  {kOffsets + kStats, t.offsets[kStatsColumn]},
                  {kOffsets + kOut, t.offsets[kOutColumn]},
                  {kOffsets + kDout, t.offsets[kDoutColumn]}});
      for (const Uid uid : {kQ, kK, kV}) out.insert({kOffsets + uid, t.offsets[kQkvColumn]});
      for (const Uid uid : {kDq, kDk, kDv}) out.insert({kOffsets + uid, t.offsets[kDqkvColumn]});
    }
    return out;
  }

  void execute(const AttentionCall& call, const PlanKey& key, const char* op, Stream& s) {
    const Plan& plan = plan_of(key);
    SHERD_CHECK(takes(call), "{}: {} does not take it within {} bytes", key.text(), version(), slab_.bytes());
    const cudnnStatus_t rc = fe::detail::set_stream(handle_, native(s));
    SHERD_CHECK(rc == CUDNN_STATUS_SUCCESS, "cudnnSetStream failed: {}", static_cast<int>(rc));
    std::unordered_map<std::int64_t, void*> at = pointers(call);
    const std::int64_t first = key.documents == 0 ? 0 : workspace_at(key);
    will_run(s);
    try {
      cudnn_check(plan.graph->execute(handle_, at, slab_.data + first), op);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {  // cudnn-frontend's
      throw Error(ExitCode::internal, fmt::format("{}: {} of {} failed: {}", op, version(), key.text(), e.what()));
    }
    ran(s, op);
  }

  Tensor slab_;
  Settings settings_;
  std::size_t version_;
  int capability_ = 0;
  cudnnHandle_t handle_ = nullptr;
  std::map<PlanKey, Plan> plans_;
};

}  // namespace

std::string CudnnAttention::library(std::string& reason) {
  // cudnn-frontend calls the CUDA runtime by the name libcudart.so.13. Once it is open, that name finds it wherever it
  // is.
  for (const char* name : {"libcudart.so.13", "libcudnn.so.9"}) {
    std::string tried;
    fe::cudnn_dlhandle = open_library(name, tried);
    if (fe::cudnn_dlhandle == nullptr) {
      reason = fmt::format("{} is nowhere; tried:{}", name, tried);
      return {};
    }
  }
  try {
    const std::size_t version = fe::detail::get_backend_version();
    if (version >= kLeastVersion) return version_text(version);
    reason = fmt::format("{} is too old, {} is needed", version_text(version), version_text(kLeastVersion));
  } catch (const std::exception& e) {  // cudnn-frontend's
    reason = e.what();
  }
  return {};
}

std::unique_ptr<CudnnAttention> CudnnAttention::make(Tensor slab, Settings settings, std::string& reason) {
  if (library(reason).empty()) return nullptr;
  try {
    return std::make_unique<Cudnn>(slab, settings);
  } catch (const std::exception& e) {
    reason = e.what();
    return nullptr;
  }
}

}  // namespace sherd::cuda
