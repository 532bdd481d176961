// Decompression by libzstd. Its window, and with it our memory, is limited to 128 MiB, zstd's own default.
#include <zstd.h>

#include <utility>
#include <vector>

#include "chess/byte_source.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

class ZstdSource : public ByteSource {
 public:
  ZstdSource(std::unique_ptr<ByteSource> inner, std::string name)
      : inner_(std::move(inner)), name_(std::move(name)), context_(ZSTD_createDCtx()), block_(ZSTD_DStreamInSize()) {
    if (context_ == nullptr) throw does_not_fit("{}: no memory for decompression", name_);
  }

  std::size_t read(std::span<char> out) override {
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos == 0) {
      if (in_.pos == in_.size && !full_) {
        in_ = {block_.data(), inner_->read(block_), 0};
        if (in_.size == 0) {
          if (in_frame_) throw bad_input("{}: the zstd data is cut off; fetch the file again", name_);
          return 0;
        }
      }
      const std::size_t left = ZSTD_decompressStream(context_.get(), &to, &in_);
      if (ZSTD_isError(left) != 0) throw bad_input("{}: damaged zstd data: {}", name_, ZSTD_getErrorName(left));
      in_frame_ = left != 0;
      full_ = in_frame_ && to.pos == to.size;  // then more may wait inside, without any input
    }
    return to.pos;
  }

 private:
  std::unique_ptr<ByteSource> inner_;
  std::string name_;
  std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
  std::vector<char> block_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool in_frame_ = false, full_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> zstd_source(std::unique_ptr<ByteSource> inner, const std::string& name) {
  return std::make_unique<ZstdSource>(std::move(inner), name);
}

}  // namespace sherd::chess
