// fill, cast, add, scale, upload, download, initialize: one pass over memory each.
#include <cstring>

#include "elementwise.hpp"
#include "ops.hpp"
#include "parallel.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {
namespace {

constexpr std::int64_t kBlock = 16384;  // elements of one piece: 64 KiB, above the cost of handing it out

template <class T>
void fill_with(T* x, std::int64_t n, T value) {
  for_blocks(n, kBlock, [=](std::int64_t begin, std::int64_t end) { std::fill(x + begin, x + end, value); });
}

template <class From, class To>
void cast_elements(const From* from, To* to, std::int64_t n) {
  for_blocks(n, kBlock, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = from_f32<To>(to_f32(from[i]));
  });
}

template <class From, class To>
void add_elements(const From* from, To* to, std::int64_t n) {
  for_blocks(n, kBlock, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = from_f32<To>(to_f32(to[i]) + to_f32(from[i]));
  });
}

template <class T>
void scale_elements(T* x, float factor, std::int64_t n) {
  for_blocks(n, kBlock, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) x[i] = from_f32<T>(to_f32(x[i]) * factor);
  });
}

void copy_bytes(const std::byte* from, std::byte* to, std::size_t bytes) {
  if (from == to) return;
  for_blocks(static_cast<std::int64_t>(bytes), 4 * kBlock, [=](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
  });
}

}  // namespace

void OpsImpl::fill(Tensor x, float value, Stream& s) {
  check_fill(x);
  enqueue(s, "fill", access({}, {x}), [x, value] {
    if (x.dtype == DType::i32) return fill_with(x.ptr<std::int32_t>(), x.numel(), static_cast<std::int32_t>(value));
    with_float_type(x.dtype, [&](auto type) {
      using T = decltype(type);
      fill_with(x.ptr<T>(), x.numel(), T(value));
    });
  });
}

void OpsImpl::cast(Tensor from, Tensor to, Stream& s) {
  check_cast(from, to);
  if (from.dtype == to.dtype) {
    enqueue(s, "copy", access({from}, {to}), [from, to] { copy_bytes(from.data, to.data, from.bytes()); });
    return;
  }
  enqueue(s, "cast", access({from}, {to}), [from, to] {
    if (from.dtype == DType::f32) {
      cast_elements(from.ptr<float>(), to.ptr<bf16>(), from.numel());
    } else {
      cast_elements(from.ptr<bf16>(), to.ptr<float>(), from.numel());
    }
  });
}

void OpsImpl::add(Tensor from, Tensor to, Stream& s) {
  check_add(from, to);
  enqueue(s, "add", access({from}, {to}), [from, to] {
    with_float_type(from.dtype, [&](auto a) {
      with_float_type(to.dtype,
                      [&](auto b) { add_elements(from.ptr<decltype(a)>(), to.ptr<decltype(b)>(), from.numel()); });
    });
  });
}

void OpsImpl::scale(Tensor x, Tensor factor, Stream& s) {
  check_scale(x, factor);
  enqueue(s, "scale", access({factor}, {x}), [x, factor] {
    with_float_type(x.dtype,
                    [&](auto type) { scale_elements(x.ptr<decltype(type)>(), *factor.ptr<float>(), x.numel()); });
  });
}

void OpsImpl::upload(std::span<const std::byte> from, Tensor to, Stream& s) {
  check_upload(from, to);
  Access touched = access({}, {to});
  if (!from.empty()) touched.ranges.push_back({from.data(), from.data() + from.size(), false});
  enqueue(s, "upload", std::move(touched), [from, to] { copy_bytes(from.data(), to.data, from.size()); });
}

void OpsImpl::download(Tensor from, std::span<std::byte> to, Stream& s) {
  check_download(from, to);
  Access touched = access({from}, {});
  if (!to.empty()) touched.ranges.push_back({to.data(), to.data() + to.size(), true});
  enqueue(s, "download", std::move(touched), [from, to] { copy_bytes(from.data, to.data(), to.size()); });
}

void OpsImpl::initialize(Tensor x, const InitRun& run, Stream& s) {
  check_initialize(x);
  enqueue(s, "initialize", access({}, {x}), [x, run] {
    float* out = x.ptr<float>();
    if (run.constant) return fill_with(out, x.numel(), run.scale);
    const Random random(run.seed, Purpose::init, run.name_hash);
    for_blocks(x.numel(), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        out[i] = run.scale * random.normal(static_cast<std::uint64_t>(run.first + i));
    });
  });
}

}  // namespace sherd::cpu
