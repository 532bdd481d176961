// cuDNN's attention on the emulated device: our own kernels, and a time that it declares. EMULATED_CUDNN says what kind
// of cuDNN there is: "faster" or "slower" than ours, "wrong" (results off by a tenth), "late" (only the
// last token is), "failing" (its calls throw), "unrepeatable" (bits that change
// from call to call), "old" (it takes no packed documents), or none at all, if it is absent.
#include <cstdlib>
#include <stdexcept>

#include "../../src/ops/cuda/cudnn_attention.hpp"
#include "../../src/ops/cuda/cudnn_documents.hpp"
#include "fibers.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {
namespace {

std::string kind() {
  const char* text = std::getenv("EMULATED_CUDNN");
  return text == nullptr ? "" : text;
}

/// x *= factor, as a kernel of one thread would.
void scale(const Tensor& x, float factor) {
  bf16* const at = x.ptr<bf16>();
  for (std::int64_t i = 0; i < x.numel(); ++i) at[i] = bf16(factor * static_cast<float>(at[i]));
}

class FakeCudnn final : public CudnnAttention {
 public:
  FakeCudnn(Tensor slab, Settings settings) : slab_(slab), settings_(settings), kind_(kind()) {}

  bool takes(const AttentionCall& call) override {
    const std::int64_t needed = slab_bytes(call);
    return needed > 0 && needed <= static_cast<std::int64_t>(slab_.bytes());
  }
  std::int64_t slab_bytes(const AttentionCall& call) override {
    const std::int64_t b = call.shape.b, t = call.shape.t, h = call.shape.heads.query;
    if (call.qkv.dtype != DType::bf16 || call.shape.heads.dim % kFlashDimMultiple != 0) return 0;
    if (kind_ == "old" && settings_.documents > 0) return 0;
    return DocumentTable::bytes(settings_.documents) + 4 * b * t * h * (call.dout ? call.shape.heads.dim + 1 : 1);
  }
  void forward(const AttentionCall& call, Stream& s) override {
    if (kind_ == "failing") throw std::runtime_error("an exception of cudnn-frontend");
    begin(call, s);
    flash_attention(call, s);
    end(call.out, s);
  }
  void backward(const AttentionCall& call, Stream& s) override {
    begin(call, s);
    flash_attention_grad(call, s);
    end(call.dqkv, s);
  }
  std::string version() const override { return "cuDNN 9.99.0"; }

 private:
  /// The real one reads the documents from such a table, so a batch of more than were promised is trouble here, too.
  void begin(const AttentionCall& call, Stream& s) const {
    if (settings_.documents == 0) return;
    derive_documents(call.doc_start, {1, 1, 1, 1, 1}, DocumentTable::at(slab_.data, settings_.documents), s);
  }
  /// Half a kernel's time less than ours, or much more.
  void end(const Tensor& result, Stream& s) {
    const double kernels = settings_.documents == 0 ? 1 : 2;  // this one and that of begin()
    const double time = emulation::kernel_microseconds() * (kind_ == "slower" ? 100 : -kernels - 0.5);
    const Tensor last_token = result.view({result.rows(), result.cols()}).row_range(result.rows() - 1, 1);
    const bool wrong = kind_ == "wrong", late = kind_ == "late", changes = kind_ == "unrepeatable";
    cudaLaunchConfig_t config;
    config.stream = native(s);
    cuda_check(emulation::launch(config, nullptr,
                                 [=, this] {
                                   if (wrong) scale(result, 1.1f);
                                   if (late) scale(last_token, 1.5f);
                                   if (changes) result.data[0] ^= std::byte(++calls_ & 1);
                                   emulation::take_time(time);
                                 }),
               "fake_cudnn");
  }

  Tensor slab_;
  Settings settings_;
  std::string kind_;
  int calls_ = 0;  // the stream's
};

}  // namespace

std::string CudnnAttention::library(std::string& reason) {
  if (!kind().empty()) return "cuDNN 9.99.0";
  reason = "EMULATED_CUDNN is not set";
  return {};
}

std::unique_ptr<CudnnAttention> CudnnAttention::make(Tensor slab, Settings settings, std::string& reason) {
  if (library(reason).empty()) return nullptr;
  return std::make_unique<FakeCudnn>(slab, settings);
}

}  // namespace sherd::cuda
