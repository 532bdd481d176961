#pragma once
// Arena: all tensor memory of a run. A bump allocator over one block, and the planner: a measuring arena hands out
// addresses from a range that is never mapped, so the code that runs a step also plans its memory, to the byte.
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "sherd/base/tensor.hpp"

namespace sherd {

class Arena {
 public:
  /// Owns `bytes` of memory, obtained and returned by the device (Device::arena).
  struct Block {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    void (*release)(Block&) noexcept = nullptr;
    std::shared_ptr<Arena> whole{};  // that it is a part of, if any
  };
  Arena(std::string name, Block block) : name_(std::move(name)), block_(std::move(block)) {}
  /// Records the high-water mark only. Its tensors are not null, and their ranges are disjoint from all others'.
  static Arena measure(std::string name);
  /// Two arenas in the block of one: `bytes` for the first, and the rest, from the next multiple of 256 on, for the
  /// second. The block goes when both have gone. `whole` must not have given anything away.
  static std::pair<Arena, Arena> divide(Arena whole, std::string first, std::size_t bytes, std::string second);
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;

  static constexpr std::size_t kAlign = 256;
  static std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

  /// A contiguous tensor, 256-byte aligned, uninitialised. Throws when the block is exhausted: plan and run disagree.
  Tensor take(DType dtype, std::initializer_list<std::int64_t> shape);
  Tensor take(DType dtype, std::span<const std::int64_t> shape);

  /// All of the block, contiguous, while nothing is taken: to be used for something else in between. The high-water
  /// mark does not see it.
  Tensor idle(DType dtype) const;

  const std::string& name() const { return name_; }
  bool measuring() const { return block_.release == nullptr; }
  std::size_t high_water() const { return high_; }
  std::size_t capacity() const { return block_.bytes; }

  /// Frees everything taken since its construction: activations of one micro-batch, one block's scratch.
  class Scope {
   public:
    explicit Scope(Arena& a) : arena_(a), mark_(a.top_) {}
    ~Scope() { arena_.top_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t mark_;
  };

 private:
  std::string name_;
  Block block_;
  std::size_t top_ = 0, high_ = 0;
};

}  // namespace sherd
