#pragma once
// A batch's documents as cuDNN wants packed sequences: lengths, and where each begins, in a table of fixed size on the
// device, so that shapes stay static and the host reads nothing back.
#include <array>
#include <cstdint>

#include "sherd/base/narrow.hpp"
#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

constexpr int kDocumentTensors = 5;

/// The entries beyond the batch's last document have length 0. All pointers are of the device.
struct DocumentTable {
  std::int64_t capacity = 0;
  std::int32_t* starts = nullptr;   // (capacity + 1), as tokens of the flattened batch; the last entries: B T
  std::int32_t* lengths = nullptr;  // (capacity), tokens
  /// Per tensor (capacity + 1): elements from its first to a document's first.
  std::array<std::int64_t*, kDocumentTensors> offsets{};

  static std::int64_t bytes(std::int64_t capacity) {
    return round_up(8 * (capacity + 1) * (1 + kDocumentTensors), 256);
  }
  static DocumentTable at(std::byte* memory, std::int64_t capacity);
};

/// Fills `table` from doc_start (B, T) i32; strides: elements from a token to the next, per tensor. Reports trouble if
/// there are more documents than the table holds, or if doc_start does not divide rows into documents.
void derive_documents(Tensor doc_start, const std::array<std::int64_t, kDocumentTensors>& strides,
                      const DocumentTable& table, Stream& s);

/// cuDNN's statistics of packed documents lie token by token, ours head by head: lse (B, H, T) = stats (B, T, H), and
/// back.
void lse_from_stats(Tensor stats, Tensor lse, Stream& s);
void stats_from_lse(Tensor lse, Tensor stats, Stream& s);

}  // namespace sherd::cuda
