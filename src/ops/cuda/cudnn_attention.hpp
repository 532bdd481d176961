#pragma once
// Causal attention of packed documents by cuDNN, loaded at run time. bf16 only. Where it takes a call, it computes what
// attention_flash*.cu computes: its statistics are the same log-sum-exp, so that one may run forward and the other
// backward.
//
// Documents. With one per row, cuDNN sees a dense batch. With several, they are its "ragged" sequences: lengths and
// places in a table of fixed capacity that a kernel derives from doc_start (cudnn_documents.hpp), unused entries with
// length 0. NVIDIA tests those from cuDNN 9.25 on (cudnn-frontend, issue 943), so older ones take no packed batch.
//
// Determinism. cuDNN's deterministic backward on compute capability 9.x keeps a whole (H, T, T) bf16 matrix per
// sequence in its workspace. Since 9.25 it has another that needs memory in proportion to T; cudnn-frontend asks for
// that one only if CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT is in the environment, with a limit in bytes that the first
// would exceed (0: always), so the program puts a 0 there, unless the user has put something. Without it the first
// kind of workspace of packed batches fits nowhere, and takes() says no.
#include <memory>
#include <string>

#include "attention.hpp"

namespace sherd::cuda {

class CudnnAttention {
 public:
  struct Settings {
    std::int64_t documents = 0;  // at most so many in a batch (B rows); 0: every row is one document
    bool deterministic = true;   // the backward's bits repeat
  };
  /// "cuDNN 9.25.1": what make would use; empty if cuDNN is not in this build or not on this machine, or too old, and
  /// `reason` says which.
  static std::string library(std::string& reason);
  /// Null if cuDNN is not in this build or not on this machine, or too old; `reason` says which. `slab`: device memory
  /// for tables and workspaces, 256-byte aligned, that belongs to this object's calls alone.
  static std::unique_ptr<CudnnAttention> make(Tensor slab, Settings settings, std::string& reason);
  virtual ~CudnnAttention() = default;

  /// Whether cuDNN computes this call (its gradient, if dout is given) within the slab. The first asking about a shape
  /// plans it, which takes up to seconds; later ones cost a microsecond.
  virtual bool takes(const AttentionCall& call) = 0;
  /// Bytes of slab that this call needs; 0 if cuDNN does not compute it however large the slab is.
  virtual std::int64_t slab_bytes(const AttentionCall& call) = 0;
  virtual void forward(const AttentionCall& call, Stream& s) = 0;
  virtual void backward(const AttentionCall& call, Stream& s) = 0;
  virtual std::string version() const = 0;  // "cuDNN 9.25.1"
};

}  // namespace sherd::cuda
