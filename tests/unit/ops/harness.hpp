#pragma once
// What the ops' tests share: a device with memory, tensors from and to vectors of f64, and numeric gradients. The tests
// do not know the backend: see tests/backend.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "sherd/device/device.hpp"
#include "sherd/ops/ops.hpp"
#include "test_backend.hpp"

namespace sherd::ops_test {

using Values = std::vector<double>;

/// What a result of this dtype may differ from the f64 truth.
double tolerance(DType dtype);

/// A device with a stream and memory; tensors live as long as the bench. One is alive at a time.
class Bench {
 public:
  explicit Bench(int threads = 2);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  /// A tensor of these values, rounded to dtype; or of poison (NaN, for i32 a large negative number).
  Tensor tensor(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values);
  Tensor poison(DType dtype, std::initializer_list<std::int64_t> shape);
  /// The same, but rows lie `gap` elements further apart than they are long; the gap holds NaN.
  Tensor strided(DType dtype, std::initializer_list<std::int64_t> shape, const Values& values, std::int64_t gap);

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  Arena arena;
  Tensor workspace;
  std::unique_ptr<Ops> ops;
};

Values values_of(const Tensor& t);
/// The bits of all elements: for comparisons that must be exact.
std::vector<std::uint32_t> bits_of(const Tensor& t);

/// `count` numbers of about unit size, keyed by `stream`, rounded to dtype.
Values normal(std::int64_t count, std::uint64_t stream, DType dtype = DType::f32, double scale = 1.0);

/// |a - b| / |b| in L2; infinity when a number is not finite.
double relative_error(const Values& a, const Values& b);
/// d loss / d x by central differences.
Values numeric_gradient(const std::function<double(const Values&)>& loss, const Values& x);
double dot(const Values& a, const Values& b);

/// doc_start (rows, T): every row holds documents of these lengths, together T.
Values doc_starts(std::int64_t rows, const std::vector<std::int64_t>& lengths);

constexpr DType kActs[] = {DType::f32, DType::bf16};

}  // namespace sherd::ops_test
