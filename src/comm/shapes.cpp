#include "shapes.hpp"

#include "sherd/base/narrow.hpp"

namespace sherd {

Tensor part_of(Tensor full, int rank, int size) {
  const std::int64_t s = div_exact(full.numel(), size);
  return full.flat(rank * s, s);
}

void check_all_gather(Tensor shard, Tensor full, int size) {
  SHERD_CHECK(
      shard.contiguous() && full.contiguous() && shard.dtype == full.dtype && shard.numel() * size == full.numel(),
      "all_gather of {} into {} over {} ranks", shard.describe(), full.describe(), size);
}

void check_reduce_scatter(Tensor full, Tensor shard, float beta, int rank, int size) {
  SHERD_CHECK(shard.contiguous() && full.contiguous() && shard.dtype == DType::f32 &&
                  (full.dtype == DType::f32 || full.dtype == DType::bf16) && shard.numel() * size == full.numel(),
              "reduce_scatter of {} into {} over {} ranks", full.describe(), shard.describe(), size);
  SHERD_CHECK(beta == 0.0f || beta == 1.0f, "reduce_scatter with beta {}", beta);
  const bool apart = shard.data + shard.bytes() <= full.data || full.data + full.bytes() <= shard.data;
  const bool in_place = beta == 0.0f && full.dtype == DType::f32 && shard.data == part_of(full, rank, size).data;
  SHERD_CHECK(apart || in_place || shard.numel() == 0,
              "reduce_scatter of {} into a shard that overlaps it: only rank {}'s own f32 part with beta 0 may",
              full.describe(), rank);
}

void check_all_reduce(Tensor inout, int size) {
  SHERD_CHECK(inout.contiguous() && inout.dtype == DType::f32, "all_reduce of {}", inout.describe());
  SHERD_CHECK(inout.numel() <= kSmallAllReduce || inout.numel() % size == 0,
              "all_reduce of {} over {} ranks: above {} elements it must be a multiple of them", inout.describe(), size,
              kSmallAllReduce);
}

void check_broadcast(Tensor inout, int root, int size) {
  SHERD_CHECK(inout.contiguous() && root >= 0 && root < size, "broadcast of {} from rank {} of {}", inout.describe(),
              root, size);
}

}  // namespace sherd
