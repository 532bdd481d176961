#pragma once
// Which kernels compute which attention: found by a timed comparison of cuDNN's with ours (attention_search.hpp),
// pinned for a run (attention_pins.hpp), written as text, so that ranks, files and checkpoints can pass it on.
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "sherd/ops/algorithms.hpp"

namespace sherd::cuda {

/// What a table is valid for: times and bits of one version of cuDNN on one kind of device.
struct AttentionTarget {
  std::string library;         // "cuDNN 9.25.1"
  std::string device;          // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;  // 90: 9.0
  int multiprocessors = 0;
};

/// One direction of one shape: our forward and cuDNN's backward go together, and the other way round.
struct AttentionTask {
  AttentionKey key;
  bool backward = false;
  auto operator<=>(const AttentionTask&) const = default;
  std::string text() const;  // "B 4 T 1024 heads 32 8 128 documents 64 forward"
};

class AttentionTable {
 public:
  /// Of cuDNN's kernel beside ours. All but the first mean that ours computes.
  enum class Verdict { faster, slower, wrong, unrepeatable, refused, uncompared };
  struct Choice {
    Verdict verdict = Verdict::refused;
    double own = 0, cudnn = 0;  // microseconds, medians when they were compared; cudnn 0: it takes no such call
    bool by_cudnn() const { return verdict == Verdict::faster; }
    std::string text() const;  // "own us 123.45 cudnn us 100.00 faster"
  };

  void set(const AttentionTask& task, const Choice& choice) { choices_[task] = choice; }
  const Choice* find(const AttentionTask& task) const;
  const std::map<AttentionTask, Choice>& all() const { return choices_; }
  /// Adds what `other` has and this has not.
  void merge(const AttentionTable& other) { choices_.insert(other.choices_.begin(), other.choices_.end()); }

  /// A section of algorithm_text.hpp.
  std::string text(const AttentionTarget& target) const;
  /// Nothing, with the reason, if the section is of another device, cuDNN or format; bad_input, naming the line, if it
  /// is damaged.
  static std::optional<AttentionTable> parse(std::string_view section, const AttentionTarget& target,
                                             std::string& reason);

 private:
  std::map<AttentionTask, Choice> choices_;
};

}  // namespace sherd::cuda
