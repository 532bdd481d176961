// out = op(a) op(b) + beta out by one multiply-add after another. Slow on purpose: it has to be right for every shape,
// stride and address.
#include "gemm_plain.hpp"
#include "launch.cuh"
#include "sherd/ops/check.hpp"
#include "vector.cuh"

namespace sherd::cuda {

__device__ inline float to_f32(f8e4m3 code) {
  return value_of_f8(code);
}
__device__ inline float to_f32(f8e5m2 code) {
  return value_of_f8(code);
}

namespace {

constexpr int kTile = 16;  // rows and columns of a block's part of out, and terms of a sum per round

/// A matrix by the distances of its elements, so that a transpose is a swap.
template <class T>
struct Strided {
  T* data;
  std::int64_t row, col;
  __device__ T& at(std::int64_t i, std::int64_t j) const { return data[i * row + j * col]; }
};

struct Sizes {
  std::int64_t m, n, k;
  float beta;
  const float *a_scale, *b_scale;  // null but for codes in eight bits
};

/// Grid: blocks of 16 x 16 elements of out, along n first. Block 256, an element each. Shared 2176 bytes. Sums in f32,
/// in order of k: deterministic.
template <class In, class InB, class Out>
__global__ void __launch_bounds__(kTile* kTile)
    product_kernel(Strided<const In> a, Strided<const InB> b, Strided<Out> out, Sizes sizes) {
  __shared__ float part_a[kTile][kTile + 1], part_b[kTile][kTile + 1];  // + 1: columns lie in different banks
  const int x = static_cast<int>(threadIdx.x) % kTile, y = static_cast<int>(threadIdx.x) / kTile;
  const std::int64_t across = (sizes.n + kTile - 1) / kTile;
  const std::int64_t row = blockIdx.x / across * kTile + y, col = blockIdx.x % across * kTile + x;
  float sum = 0;
  for (std::int64_t k = 0; k < sizes.k; k += kTile) {
    part_a[y][x] = row < sizes.m && k + x < sizes.k ? to_f32(a.at(row, k + x)) : 0.0f;
    part_b[y][x] = col < sizes.n && k + y < sizes.k ? to_f32(b.at(k + y, col)) : 0.0f;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += part_a[y][i] * part_b[i][x];
    __syncthreads();
  }
  if (row >= sizes.m || col >= sizes.n) return;
  if constexpr (sizeof(In) == 1) sum *= *sizes.a_scale * *sizes.b_scale;
  if (sizes.beta != 0.0f) sum += sizes.beta * to_f32(out.at(row, col));
  out.at(row, col) = from_f32<Out>(sum);
}

template <class T>
Strided<T> strided(const Tensor& t, std::int64_t stride, bool transposed) {
  return transposed ? Strided<T>{reinterpret_cast<T*>(t.data), 1, stride}
                    : Strided<T>{reinterpret_cast<T*>(t.data), stride, 1};
}

template <class In, class InB, class Out>
void enqueue(const Product& p, const ProductKey& key, const char* op, Stream& s) {
  const Grid grid{.x = div_up(key.m, kTile) * div_up(key.n, kTile), .threads = kTile * kTile};
  launch(s, op, product_kernel<In, InB, Out>, grid, strided<const In>(p.a, key.a_stride, p.transpose_a),
         strided<const InB>(p.b, key.b_stride, p.transpose_b), strided<Out>(p.out, key.out_stride, false),
         Sizes{key.m, key.n, key.k, p.beta, reinterpret_cast<const float*>(p.a_scale.data),
               reinterpret_cast<const float*>(p.b_scale.data)});
}

}  // namespace

void multiply_plainly(const Product& product, const ProductKey& key, const char* op, Stream& s) {
  if (key.in == DType::f32) return enqueue<float, float, float>(product, key, op, s);
  with_float_type(key.out, [&]<class Out>(Out) {
    if (!is_f8(key.in)) return enqueue<bf16, bf16, Out>(product, key, op, s);
    with_f8_type(key.in, [&]<class In>(In) { enqueue<In, f8e4m3, Out>(product, key, op, s); });
  });
}

}  // namespace sherd::cuda
