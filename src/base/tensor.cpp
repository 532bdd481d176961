#include "sherd/base/tensor.hpp"

#include <string_view>

namespace sherd {

std::string_view name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::i16:
      return "i16";
    case DType::u8:
      return "u8";
  }
  return "?";
}

DType dtype_from_name(std::string_view name) {
  if (name == "f32" || name == "fp32" || name == "float32") return DType::f32;
  if (name == "bf16" || name == "bfloat16") return DType::bf16;
  throw usage_error("dtype '{}' is not known; use fp32 or bf16", name);
}

Tensor Tensor::make(void* data, DType dtype, std::initializer_list<std::int64_t> shape) {
  return make(data, dtype, std::span(shape.begin(), shape.size()));
}

Tensor Tensor::make(void* data, DType dtype, std::span<const std::int64_t> shape) {
  SHERD_CHECK(shape.size() <= 4, "a tensor of rank {}", shape.size());
  Tensor t{static_cast<std::byte*>(data), dtype, static_cast<std::uint8_t>(shape.size()), {}, 0};
  for (std::size_t i = 0; i < shape.size(); ++i) t.dim[i] = shape[i];
  t.row_stride = t.cols();
  return t;
}

std::size_t Tensor::extent() const {
  const std::int64_t r = rows();
  return r == 0 ? 0 : static_cast<std::size_t>((r - 1) * row_stride + cols()) * size_of(dtype);
}

Tensor Tensor::flat(std::int64_t first, std::int64_t count) const {
  SHERD_CHECK(contiguous() && first >= 0 && count >= 0 && first + count <= numel(), "elements {} + {} of {}", first,
              count, describe());
  return make(data + static_cast<std::size_t>(first) * size_of(dtype), dtype, {count});
}

Tensor Tensor::view(std::initializer_list<std::int64_t> shape) const {
  return view(std::span(shape.begin(), shape.size()));
}

Tensor Tensor::view(std::span<const std::int64_t> shape) const {
  Tensor t = make(data, dtype, shape);
  SHERD_CHECK(t.numel() == numel() && (contiguous() || t.cols() == cols()), "{} seen as {}", describe(), t.describe());
  if (!contiguous()) t.row_stride = row_stride;
  return t;
}

Tensor Tensor::row_range(std::int64_t first, std::int64_t count) const {
  SHERD_CHECK(rank == 2 && first >= 0 && count >= 0 && first + count <= dim[0], "rows {} + {} of {}", first, count,
              describe());
  Tensor t = *this;
  t.data += static_cast<std::size_t>(first * row_stride) * size_of(dtype);
  t.dim[0] = count;
  return t;
}

Tensor Tensor::col_range(std::int64_t first, std::int64_t count) const {
  SHERD_CHECK(rank >= 1 && first >= 0 && count >= 0 && first + count <= cols(), "columns {} + {} of {}", first, count,
              describe());
  Tensor t = *this;
  t.data += static_cast<std::size_t>(first) * size_of(dtype);
  t.dim[rank - 1u] = count;
  return t;
}

std::string Tensor::describe() const {
  std::string text = fmt::format("{} (", name_of(dtype));
  for (std::size_t i = 0; i < rank; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", dim[i]);
  return text + ")";
}

}  // namespace sherd
