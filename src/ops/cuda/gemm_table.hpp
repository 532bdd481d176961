#pragma once
// Which algorithm of cuBLASLt computes which product: found by a timed search (gemm_search.hpp), pinned for a run
// (Gemm), written as text, so that ranks, files and checkpoints can pass it on.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "sherd/ops/product.hpp"

namespace sherd::cuda {

/// cublasLtMatmulAlgo_t: 64 opaque bytes, valid for one version of the library.
using AlgorithmBytes = std::array<std::uint64_t, 8>;

/// What a table is valid for. NVIDIA promises equal bits only between GPUs of one architecture with as many
/// multiprocessors, and an algorithm's bytes a meaning only within one version of the library.
struct GemmTarget {
  std::string device;          // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;  // 90: 9.0
  int multiprocessors = 0;
  std::int64_t library_version = 0;  // 130100: cuBLASLt 13.1.0
  bool operator==(const GemmTarget&) const = default;
};

/// The current device and the loaded library. Throws where there is none.
GemmTarget current_target();

class GemmTable {
 public:
  struct Choice {
    AlgorithmBytes algorithm{};  // all 0: none was chosen, and the library's first guess computes
    double microseconds = 0;     // the median when it was chosen
    bool any() const { return algorithm != AlgorithmBytes{}; }
  };

  void set(const ProductKey& key, const Choice& choice) { choices_[key] = choice; }
  const Choice* find(const ProductKey& key) const;
  const std::map<ProductKey, Choice>& all() const { return choices_; }
  /// Adds what `other` has and this has not.
  void merge(const GemmTable& other) { choices_.insert(other.choices_.begin(), other.choices_.end()); }

  /// A header line, a line per product, and a last line with their number and checksum.
  std::string text(const GemmTarget& target) const;
  /// Nothing, with the reason, if the text is of another device, library or format; bad_input, naming the line, if it
  /// is damaged. Checks all of it: the text may come from anywhere.
  static std::optional<GemmTable> parse(std::string_view text, const GemmTarget& target, std::string& reason);

 private:
  std::map<ProductKey, Choice> choices_;
};

}  // namespace sherd::cuda
