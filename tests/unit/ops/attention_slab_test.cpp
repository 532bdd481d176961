// The slab that a plan counts for cuDNN's attention, against the workspaces that cuDNN's own plans asked for.
#include <gtest/gtest.h>

#include "sherd/ops/backend.hpp"

namespace sherd {
namespace {

struct Case {
  std::int64_t b, t;
  Heads heads;
  std::int64_t documents,
      bytes;  // of the deterministic backward: cuDNN 9.26, H100, CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT=0
};

TEST(AttentionSlab, HoldsWhatCudnnAsksForAndLittleMore) {
  for (const Case& c : {Case{4, 1024, {32, 32, 128}, 64, 202110336},
                        {4, 1024, {32, 32, 128}, 128, 202401408},
                        {4, 1024, {32, 16, 128}, 64, 671790464},
                        {4, 1024, {32, 8, 128}, 256, 907487360},
                        {1, 4096, {32, 8, 128}, 64, 907400576},
                        {4, 1024, {32, 4, 128}, 64, 1426580864},
                        {1, 16384, {32, 8, 128}, 1024, 3693376640},
                        {1, 2048, {32, 4, 64}, 128, 357736064},
                        {2, 2048, {12, 12, 96}, 100, 57164160},
                        {8, 512, {8, 4, 32}, 256, 42314880},
                        {2, 1024, {32, 8, 128}, 0, 67379456}}) {
    const std::int64_t table = c.documents == 0 ? 0 : 48 * (c.documents + 1) + 512 + 4 * c.b * c.t * c.heads.query;
    const std::int64_t slab = backend_of("cuda").attention_slab_bytes(c.b, c.t, c.heads);
    EXPECT_GE(slab, c.bytes + table) << c.b << ' ' << c.t << ' ' << c.heads.query << ' ' << c.heads.kv;
    if (c.documents > 0) {
      EXPECT_LT(slab, c.bytes + c.bytes / 20 + table) << c.heads.kv;
    }
  }
  EXPECT_EQ(backend_of("cpu").attention_slab_bytes, nullptr);
}

}  // namespace
}  // namespace sherd
