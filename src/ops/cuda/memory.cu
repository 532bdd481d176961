// fill, cast, add, scale, upload, download, initialize: one pass over memory each.
// Bytes per element: fill writes size; cast reads and writes once; scale too; add reads two and writes one. No reuse,
// no sums. Floor of 2^28 elements at 3.35 TB/s (H100): cast f32 to bf16 481 us, add bf16 to f32 801 us, scale f32 641
// us, fill f32 321 us. Goal 85%: 566, 943, 754, 377 us. Measured share: unmeasured.
#include <algorithm>

#include "elementwise.cuh"
#include "ops.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {
namespace {

/// x (n) = value. A grid of threads, one pack each and a grid further; deterministic.
template <class T, int kN>
__global__ void fill_kernel(T* x, T value, std::int64_t n) {
  Pack<T, kN> pack;
  for (int i = 0; i < kN; ++i) pack.at[i] = value;
  for (std::int64_t i = global_thread(); i < n / kN; i += grid_threads()) store<kN>(x + i * kN, pack);
  for (std::int64_t i = n / kN * kN + global_thread(); i < n; i += grid_threads()) x[i] = value;
}

template <class T>
void fill_with(Tensor x, T value, Stream& s) {
  auto* data = reinterpret_cast<T*>(x.data);
  const std::int64_t n = x.numel();
  if (reinterpret_cast<std::uintptr_t>(data) % 16 == 0)
    launch(s, "fill", &fill_kernel<T, kPackOf<T>>, element_grid(div_up(n, kPackOf<T>)), data, value, n);
  else
    launch(s, "fill", &fill_kernel<T, 1>, element_grid(n), data, value, n);
}

/// to (n) = from.
struct Cast {
  __device__ float operator()(float from, float) const { return from; }
};
/// to (n) += from.
struct Add {
  __device__ float operator()(float from, float to) const { return to + from; }
};

/// to (n) = op(from (n), to) in f32, rounded to nearest even; kReads: whether op needs what `to` was. Grid as fill's;
/// deterministic.
template <class Op, bool kReads, class From, class To, int kN>
__global__ void map_kernel(const From* from, To* to, std::int64_t n) {
  const Op op;
  for (std::int64_t i = global_thread(); i < n / kN; i += grid_threads()) {
    float in[kN], out[kN];
    load_f32<kN>(in, from + i * kN);
    if constexpr (kReads) load_f32<kN>(out, to + i * kN);
#pragma unroll
    for (int j = 0; j < kN; ++j) out[j] = op(in[j], out[j]);
    store_f32<kN>(to + i * kN, out);
  }
  for (std::int64_t i = n / kN * kN + global_thread(); i < n; i += grid_threads())
    to[i] = from_f32<To>(op(to_f32(from[i]), kReads ? to_f32(to[i]) : 0.0f));
}

template <class Op, bool kReads, class From, class To>
void map(const char* name, Tensor from, Tensor to, Stream& s) {
  constexpr int kN = std::max(kPackOf<From>, kPackOf<To>);  // the wider type takes two accesses
  const auto* in = reinterpret_cast<const From*>(from.data);
  auto* out = reinterpret_cast<To*>(to.data);
  const std::int64_t n = from.numel();
  const bool aligned = (reinterpret_cast<std::uintptr_t>(in) | reinterpret_cast<std::uintptr_t>(out)) % 16 == 0;
  if (aligned)
    launch(s, name, &map_kernel<Op, kReads, From, To, kN>, element_grid(div_up(n, kN)), in, out, n);
  else
    launch(s, name, &map_kernel<Op, kReads, From, To, 1>, element_grid(n), in, out, n);
}

/// x (n) *= factor (1). Grid as fill's; deterministic.
template <class T, int kN>
__global__ void scale_kernel(T* x, const float* factor, std::int64_t n) {
  const float f = *factor;
  for (std::int64_t i = global_thread(); i < n / kN; i += grid_threads()) {
    Pack<T, kN> pack = load<kN>(x + i * kN);
#pragma unroll
    for (int j = 0; j < kN; ++j) pack.at[j] = from_f32<T>(to_f32(pack.at[j]) * f);
    store<kN>(x + i * kN, pack);
  }
  for (std::int64_t i = n / kN * kN + global_thread(); i < n; i += grid_threads()) x[i] = from_f32<T>(to_f32(x[i]) * f);
}

/// Random::normal of base/rng.hpp, with the device's logarithm and cosine (f64).
__device__ float philox_normal(const PhiloxKey& key, std::uint64_t element) {
  const auto r = key.draw(element);
  const double u = (static_cast<double>(r[0]) + 1.0) * 0x1.0p-32, angle = static_cast<double>(r[1]) * 0x1.0p-32;
  return static_cast<float>(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * angle));
}

/// x (n) f32 = scale normal(key, first + i).
__global__ void initialize_kernel(float* x, std::int64_t n, PhiloxKey key, std::uint64_t first, float scale) {
  for (std::int64_t i = global_thread(); i < n; i += grid_threads())
    x[i] = scale * philox_normal(key, first + static_cast<std::uint64_t>(i));
}

}  // namespace

void OpsImpl::fill(Tensor x, float value, Stream& s) {
  check_fill(x);
  if (x.dtype == DType::i32) return fill_with(x, static_cast<std::int32_t>(value), s);
  with_float_type(x.dtype, [&](auto type) { fill_with(x, decltype(type)(value), s); });
}

void OpsImpl::cast(Tensor from, Tensor to, Stream& s) {
  check_cast(from, to);
  if (from.dtype == to.dtype) {
    if (from.data == to.data || from.bytes() == 0) return;
    will_run(s);
    CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice, native(s)));
    return ran(s, "copy");
  }
  if (from.dtype == DType::f32)
    map<Cast, false, float, bf16>("cast", from, to, s);
  else
    map<Cast, false, bf16, float>("cast", from, to, s);
}

void OpsImpl::add(Tensor from, Tensor to, Stream& s) {
  check_add(from, to);
  with_float_type(from.dtype, [&](auto a) {
    with_float_type(to.dtype, [&](auto b) { map<Add, true, decltype(a), decltype(b)>("add", from, to, s); });
  });
}

void OpsImpl::scale(Tensor x, Tensor factor, Stream& s) {
  check_scale(x, factor);
  with_float_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
    launch(s, "scale", aligned ? &scale_kernel<T, kPackOf<T>> : &scale_kernel<T, 1>,
           element_grid(div_up(x.numel(), aligned ? kPackOf<T> : 1)), reinterpret_cast<T*>(x.data),
           reinterpret_cast<const float*>(factor.data), x.numel());
  });
}

void OpsImpl::upload(std::span<const std::byte> from, Tensor to, Stream& s) {
  check_upload(from, to);
  if (from.empty()) return;
  will_run(s);
  CUDA_CHECK(cudaMemcpyAsync(to.data, from.data(), from.size(), cudaMemcpyHostToDevice, native(s)));
  ran(s, "upload");
}

void OpsImpl::download(Tensor from, std::span<std::byte> to, Stream& s) {
  check_download(from, to);
  if (to.empty()) return;
  will_run(s);
  CUDA_CHECK(cudaMemcpyAsync(to.data(), from.data, to.size(), cudaMemcpyDeviceToHost, native(s)));
  ran(s, "download");
}

void OpsImpl::initialize(Tensor x, const InitRun& run, Stream& s) {
  check_initialize(x);
  if (run.constant) return fill(x, run.scale, s);
  const Random random(run.seed, Purpose::init, run.name_hash);
  launch(s, "initialize", &initialize_kernel, element_grid(x.numel()), reinterpret_cast<float*>(x.data), x.numel(),
         random.key(), run.first, run.scale);
}

}  // namespace sherd::cuda
