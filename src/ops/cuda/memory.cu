// fill, cast, add, scale, upload, download, initialize: one pass over memory each.
// Bytes per element: fill writes size; cast reads and writes once; add reads two and writes one. No reuse, no sums.
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

/// to (n) = from, rounded to nearest even.
struct Cast {
  template <class To>
  __device__ To operator()(float from, To) const {
    return from_f32<To>(from);
  }
};
/// to (n) += from.
struct Add {
  template <class To>
  __device__ To operator()(float from, To to) const {
    return from_f32<To>(to_f32(to) + from);
  }
};

/// to (n) = op(from (n), to); kReads: whether op needs what `to` was. Grid as fill's; deterministic.
template <class Op, bool kReads, class From, class To, int kN>
__global__ void map_kernel(const From* from, To* to, std::int64_t n) {
  const Op op;
  for (std::int64_t i = global_thread(); i < n / kN; i += grid_threads()) {
    const Pack<From, kN> in = load<kN>(from + i * kN);
    Pack<To, kN> out;
    if constexpr (kReads) out = load<kN>(to + i * kN);
    for (int j = 0; j < kN; ++j) out.at[j] = op(to_f32(in.at[j]), out.at[j]);
    store<kN>(to + i * kN, out);
  }
  for (std::int64_t i = n / kN * kN + global_thread(); i < n; i += grid_threads()) to[i] = op(to_f32(from[i]), to[i]);
}

template <class Op, bool kReads, class From, class To>
void map(const char* name, Tensor from, Tensor to, Stream& s) {
  constexpr int kN = kPackOfBoth<From, To>;
  const auto* in = reinterpret_cast<const From*>(from.data);
  auto* out = reinterpret_cast<To*>(to.data);
  const std::int64_t n = from.numel();
  const bool aligned = (reinterpret_cast<std::uintptr_t>(in) | reinterpret_cast<std::uintptr_t>(out)) % 16 == 0;
  if (aligned)
    launch(s, name, &map_kernel<Op, kReads, From, To, kN>, element_grid(div_up(n, kN)), in, out, n);
  else
    launch(s, name, &map_kernel<Op, kReads, From, To, 1>, element_grid(n), in, out, n);
}

/// x (n) *= factor (1).
template <class T>
__global__ void scale_kernel(T* x, const float* factor, std::int64_t n) {
  const float f = *factor;
  for (std::int64_t i = global_thread(); i < n; i += grid_threads()) x[i] = from_f32<T>(to_f32(x[i]) * f);
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
    launch(s, "scale", &scale_kernel<T>, element_grid(x.numel()), reinterpret_cast<T*>(x.data),
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
