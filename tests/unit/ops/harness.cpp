#include "harness.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "sherd/base/rng.hpp"

namespace sherd::cpu {
namespace {

double rounded(double value, DType dtype) {
  const auto f = static_cast<float>(value);
  return dtype == DType::bf16 ? static_cast<float>(bf16(f)) : f;
}

void put(const Tensor& t, std::int64_t at, double value) {
  if (t.dtype == DType::f32) t.ptr<float>()[at] = static_cast<float>(value);
  if (t.dtype == DType::bf16) t.ptr<bf16>()[at] = bf16(static_cast<float>(value));
  if (t.dtype == DType::i32)
    t.ptr<std::int32_t>()[at] = std::isnan(value) ? -(1 << 30) : static_cast<std::int32_t>(value);
}

double get(const Tensor& t, std::int64_t at) {
  if (t.dtype == DType::f32) return t.ptr<float>()[at];
  if (t.dtype == DType::bf16) return static_cast<float>(t.ptr<bf16>()[at]);
  return t.ptr<std::int32_t>()[at];
}

std::int64_t place(const Tensor& t, std::int64_t element) {
  return element / t.cols() * t.row_stride + element % t.cols();
}

}  // namespace

Bench::Bench(int threads)
    : device({.schedule = Schedule::in_order, .check_hazards = true, .threads = threads}),
      stream(device.stream("compute", StreamKind::compute)),
      arena(device.arena("test", std::size_t{96} << 20)),
      workspace(arena.take(DType::f32, {kWorkspaceBytes / 4})),
      ops(make_ops(workspace)) {
  set_threads(threads);  // the stream runs its work on this thread
  std::ranges::fill(workspace.as<float>(), std::numeric_limits<float>::quiet_NaN());
}

Tensor Bench::tensor(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values) {
  const Tensor t = arena.take(dtype, shape);
  SHERD_CHECK(t.numel() == static_cast<std::int64_t>(values.size()), "{} of {} values", t.describe(), values.size());
  for (std::int64_t i = 0; i < t.numel(); ++i) put(t, i, values[static_cast<std::size_t>(i)]);
  return t;
}

Tensor Bench::poison(DType dtype, std::initializer_list<std::int64_t> shape) {
  const Tensor t = arena.take(dtype, shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) put(t, i, std::numeric_limits<double>::quiet_NaN());
  return t;
}

Tensor Bench::strided(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values, std::int64_t gap) {
  const Tensor dense = Tensor::make(arena.take(dtype, {1}).data, dtype, shape);
  const Tensor wide = poison(dtype, {dense.rows(), dense.cols() + gap});
  Tensor t = dense;
  t.data = wide.data;
  t.row_stride = wide.row_stride;
  for (std::int64_t i = 0; i < t.numel(); ++i) put(t, place(t, i), values[static_cast<std::size_t>(i)]);
  return t;
}

Values values_of(const Tensor& t) {
  Values out(static_cast<std::size_t>(t.numel()));
  for (std::int64_t i = 0; i < t.numel(); ++i) out[static_cast<std::size_t>(i)] = get(t, place(t, i));
  return out;
}

std::vector<std::uint32_t> bits_of(const Tensor& t) {
  std::vector<std::uint32_t> out(static_cast<std::size_t>(t.numel()));
  for (std::int64_t i = 0; i < t.numel(); ++i)
    std::memcpy(&out[static_cast<std::size_t>(i)], t.data + place(t, i) * static_cast<std::int64_t>(size_of(t.dtype)),
                size_of(t.dtype));
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

}  // namespace sherd::cpu
