#include "harness.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "sherd/base/rng.hpp"

namespace sherd::ops_test {
namespace {

double rounded(double value, DType dtype) {
  const auto f = static_cast<float>(value);
  return dtype == DType::bf16 ? static_cast<float>(bf16(f)) : f;
}

/// A test has one bench at a time; tensors are read and written through it.
Bench* current = nullptr;

std::uint32_t bits_from(double value, DType dtype) {
  if (dtype == DType::f32) return std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if (dtype == DType::bf16) return bf16(static_cast<float>(value)).bits;
  return static_cast<std::uint32_t>(std::isnan(value) ? -(1 << 30) : static_cast<std::int32_t>(value));
}

double value_from(std::uint32_t bits, DType dtype) {
  if (dtype == DType::f32) return std::bit_cast<float>(bits);
  if (dtype == DType::bf16) return std::bit_cast<float>(bits << 16);
  if (dtype == DType::i16) return static_cast<std::int16_t>(bits);
  return static_cast<std::int32_t>(bits);
}

/// Elements from t's first to its last, gaps between rows included, as they lie in memory.
Tensor whole(const Tensor& t) {
  return Tensor::make(t.data, t.dtype, {static_cast<std::int64_t>(t.extent() / size_of(t.dtype))});
}

void write(const Tensor& flat, const Values& values) {
  std::vector<std::byte> bytes(flat.bytes());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = bits_from(values[i], flat.dtype);
    std::memcpy(bytes.data() + i * size_of(flat.dtype), &bits, size_of(flat.dtype));
  }
  current->ops->upload(bytes, flat, *current->stream);
  current->stream->synchronize();
}

}  // namespace

Bench::Bench(int threads)
    : device(test::make_test_device(threads)),
      stream(device->stream("compute", StreamKind::compute)),
      arena(device->arena("test", std::size_t{96} << 20)),
      workspace(arena.take(DType::f32, {test::test_backend().workspace_bytes / 4})),
      ops(test::test_backend().make_ops(workspace)) {
  SHERD_CHECK(current == nullptr, "two benches at once");
  current = this;
  ops->fill(workspace, std::numeric_limits<float>::quiet_NaN(), *stream);
}
Bench::~Bench() {
  current = nullptr;
}

Tensor Bench::tensor(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values) {
  const Tensor t = arena.take(dtype, shape);
  SHERD_CHECK(t.numel() == static_cast<std::int64_t>(values.size()), "{} of {} values", t.describe(), values.size());
  if (!values.empty()) write(whole(t), values);
  return t;
}

Tensor Bench::poison(DType dtype, std::initializer_list<std::int64_t> shape) {
  const Tensor t = arena.take(dtype, shape);
  if (t.numel() > 0)
    write(whole(t), Values(static_cast<std::size_t>(t.numel()), std::numeric_limits<double>::quiet_NaN()));
  return t;
}

Tensor Bench::strided(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values, std::int64_t gap) {
  Tensor t = Tensor::make(arena.take(dtype, {1}).data, dtype, shape);
  const std::int64_t rows = t.rows(), cols = t.cols(), stride = cols + gap;
  Values wide(static_cast<std::size_t>(rows * stride), std::numeric_limits<double>::quiet_NaN());
  for (std::int64_t i = 0; i < t.numel(); ++i)
    wide[static_cast<std::size_t>(i / cols * stride + i % cols)] = values[static_cast<std::size_t>(i)];
  t.data = tensor(dtype, {rows, stride}, wide).data;
  t.row_stride = stride;
  return t;
}

std::vector<std::uint32_t> bits_of(const Tensor& t) {
  if (t.numel() == 0) return {};
  const Tensor all = whole(t);
  std::vector<std::byte> bytes(all.bytes());
  current->ops->download(all, bytes, *current->stream);
  current->stream->synchronize();
  std::vector<std::uint32_t> out(static_cast<std::size_t>(t.numel()));
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const auto place = static_cast<std::size_t>(i / t.cols() * t.row_stride + i % t.cols());
    std::memcpy(&out[static_cast<std::size_t>(i)], bytes.data() + place * size_of(t.dtype), size_of(t.dtype));
  }
  return out;
}

Values values_of(const Tensor& t) {
  Values out;
  for (const std::uint32_t bits : bits_of(t)) out.push_back(value_from(bits, t.dtype));
  return out;
}

Values normal(std::int64_t count, std::uint64_t stream, DType dtype, double scale) {
  const Random random(7, Purpose::test, stream);
  Values out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = rounded(scale * random.normal(i), dtype);
  return out;
}

double relative_error(const Values& a, const Values& b) {
  SHERD_CHECK(a.size() == b.size(), "{} values against {}", a.size(), b.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  if (difference == 0) return 0;
  const double error = std::sqrt(difference / size);
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

double tolerance(DType dtype) {
  if (test::tests_cuda()) return dtype == DType::bf16 ? 1e-2 : 1e-5;
  return dtype == DType::bf16 ? 4e-3 : 1e-6;
}

Values numeric_gradient(const std::function<double(const Values&)>& loss, const Values& x) {
  constexpr double kStep = 1e-5;
  Values gradient(x.size()), moved = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    moved[i] = x[i] + kStep;
    const double up = loss(moved);
    moved[i] = x[i] - kStep;
    gradient[i] = (up - loss(moved)) / (2 * kStep);
    moved[i] = x[i];
  }
  return gradient;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Values doc_starts(std::int64_t rows, const std::vector<std::int64_t>& lengths) {
  Values out;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t start = 0;
    for (const std::int64_t length : lengths) {
      out.insert(out.end(), static_cast<std::size_t>(length), static_cast<double>(start));
      start += length;
    }
  }
  return out;
}

}  // namespace sherd::ops_test
