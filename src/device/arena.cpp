#include "sherd/device/arena.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "sherd/base/narrow.hpp"

namespace sherd {
namespace {

/// A fresh 16 TiB range of addresses that no process can map: what a measuring arena hands out.
std::byte* unmapped_range() {
  static std::atomic<std::uintptr_t> next{std::uintptr_t{1} << 60};
  return reinterpret_cast<std::byte*>(next.fetch_add(std::uintptr_t{1} << 44));
}

}  // namespace

Arena Arena::measure(std::string name) {
  return {std::move(name), Block{unmapped_range(), std::size_t{1} << 44, nullptr, nullptr}};
}

std::pair<Arena, Arena> Arena::divide(Arena whole, std::string first, std::size_t bytes, std::string second) {
  const std::size_t begin = aligned(bytes), all = whole.capacity();
  SHERD_CHECK(whole.top_ == 0 && begin <= all && !whole.measuring(), "arena '{}' of {} bytes, {} taken, divided at {}",
              whole.name(), all, whole.top_, begin);
  std::byte* const data = whole.block_.data;
  const auto owner = std::make_shared<Arena>(std::move(whole));
  const auto part = [&](std::string name, std::size_t from, std::size_t length) {
    return Arena(std::move(name), Block{data + from, length, [](Block& b) noexcept { b.whole.reset(); }, owner});
  };
  return {part(std::move(first), 0, bytes), part(std::move(second), begin, all - begin)};
}

Arena::~Arena() {
  if (block_.release != nullptr) block_.release(block_);
}

Arena::Arena(Arena&& other) noexcept
    : name_(std::move(other.name_)), block_(std::exchange(other.block_, {})), top_(other.top_), high_(other.high_) {}

Tensor Arena::idle(DType dtype) const {
  SHERD_CHECK(top_ == 0 && !measuring(), "arena '{}' is in use: {} bytes are taken", name_, top_);
  return Tensor::make(block_.data, dtype, {narrow<std::int64_t>(block_.bytes / size_of(dtype))});
}

Tensor Arena::take(DType dtype, std::initializer_list<std::int64_t> shape) {
  return take(dtype, std::span(shape.begin(), shape.size()));
}

Tensor Arena::take(DType dtype, std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t d : shape) count = checked_mul(count, d);
  const std::size_t begin = aligned(top_);
  const std::size_t bytes = narrow<std::size_t>(count) * size_of(dtype);
  SHERD_CHECK(bytes <= block_.bytes && begin <= block_.bytes - bytes,
              "arena '{}' of {} bytes has {} taken and is asked for {}: plan and run disagree", name_, block_.bytes,
              top_, bytes);
  top_ = begin + bytes;
  high_ = std::max(high_, top_);
  return Tensor::make(block_.data + begin, dtype, shape);
}

}  // namespace sherd
