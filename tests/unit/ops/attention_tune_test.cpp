// Which kernels a run's attention gets: ours or cuDNN's (tests/emulation/fake_cudnn.cpp), by a checkpoint, the cache or
// a comparison.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fake_cublas_lt.hpp"
#include "harness.hpp"
#include "sherd/ops/algorithms.hpp"
#include "sherd/ops/attention_shape.hpp"

namespace sherd::ops_test {
namespace {

namespace fs = std::filesystem;

class AttentionTune : public ::testing::Test {
 protected:
  AttentionTune() {
    ::emulation::fake() = {};
    std::string name = (fs::temp_directory_path() / "sherd-attention-tune-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    cudnn_is("faster");
    const std::int64_t n = kB * kT, width = kHeads.query * kHeads.dim;
    qkv_ = bench_.tensor(DType::bf16, {kB, kT, kHeads.packed()}, normal(n * kHeads.packed(), 1, DType::bf16));
    dout_ = bench_.tensor(DType::bf16, {kB, kT, width}, normal(n * width, 2, DType::bf16));
    slab_ = bench_.arena.take(DType::f32, {1 << 18});
    scratch_ = bench_.arena.take(DType::f32, {1 << 18});
    needs_.attentions = {{kB, kT, kHeads, 2 * kB}};
  }
  ~AttentionTune() override {
    ::unsetenv("XDG_CACHE_HOME");
    ::unsetenv("EMULATED_CUDNN");
    fs::remove_all(folder_);
  }

  static void cudnn_is(const char* kind) { ::setenv("EMULATED_CUDNN", kind, 1); }
  std::string choose(const std::string& known = "") {
    return bench_.ops->choose_algorithms(needs_, known, slab_, scratch_, *bench_.stream);
  }
  void use(const std::string& text) { bench_.ops->use_algorithms(text, needs_, slab_); }
  std::string cached() const {
    std::stringstream text;
    text << std::ifstream(cache()).rdbuf();
    return text.str();
  }
  fs::path cache() const { return folder_ / "sherd" / "attention-Emulated-GPU-4-cuDNN-9-99-0.txt"; }
  static std::string section(const std::string& text) { return text.substr(text.find("sherd-attention")); }
  /// How many lines end in this verdict.
  static int verdicts(const std::string& text, const std::string& verdict) {
    int count = 0;
    for (std::size_t at = text.find(" " + verdict + "\n"); at != std::string::npos;
         at = text.find(" " + verdict + "\n", at + 1))
      ++count;
    return count;
  }

  /// The results of a call now, whose rows have so many documents each.
  struct Results {
    std::vector<std::uint32_t> out, dqkv;
    bool operator==(const Results&) const = default;
  };
  Results run(std::int64_t documents = 2) {
    Values starts;
    for (std::int64_t i = 0; i < kB * kT; ++i)
      starts.push_back(static_cast<double>(i % kT * documents / kT * kT / documents));
    const Tensor doc_start = bench_.tensor(DType::i32, {kB, kT}, starts);
    const std::int64_t width = kHeads.query * kHeads.dim;
    const Tensor out = bench_.poison(DType::bf16, {kB, kT, width}),
                 lse = bench_.poison(DType::f32, {kB, kHeads.query, kT}),
                 delta = bench_.poison(DType::f32, {kB, kHeads.query, kT}),
                 dqkv = bench_.poison(DType::bf16, {kB, kT, kHeads.packed()});
    bench_.ops->attention(qkv_, doc_start, kHeads, out, lse, *bench_.stream);
    bench_.ops->attention_grad(dout_, qkv_, doc_start, kHeads, out, lse, delta, dqkv, *bench_.stream);
    bench_.stream->synchronize();
    return {bits_of(out), bits_of(dqkv)};
  }

  static constexpr std::int64_t kB = 2, kT = 24;
  static constexpr Heads kHeads{4, 2, 8};
  fs::path folder_;
  int long_ = ::setenv("EMULATED_CUDA_KERNEL_MICROSECONDS", "1000", 1);  // so that few samples do
  Bench bench_;
  Tensor qkv_, dout_, slab_, scratch_;
  AlgorithmNeeds needs_;
};

TEST_F(AttentionTune, TheFasterIsChosenCachedAndUsed) {
  const Results own = run();
  const std::string text = choose();
  EXPECT_EQ(verdicts(text, "faster"), 2) << text;
  EXPECT_EQ(cached(), section(text));
  use(text);
  EXPECT_EQ(run(), own);  // the emulated one's results are ours
  // That it is cuDNN that runs shows by what it does when it changes its ways.
  cudnn_is("wrong");
  use(text);
  EXPECT_NE(run().out, own.out);
  EXPECT_NE(run().dqkv, own.dqkv);
  cudnn_is("slower");
  EXPECT_EQ(choose(), text) << "what the cache has was compared again";
  cudnn_is("wrong");
  EXPECT_EQ(verdicts(choose(), "wrong"), 2) << "what the cache has was taken as right";
}

TEST_F(AttentionTune, OnlyWhatIsFasterRightAndRepeatableIsChosen) {
  const Results own = run();
  for (const std::string kind : {"slower", "wrong", "late", "unrepeatable"}) {
    fs::remove(cache());
    cudnn_is(kind.c_str());
    const std::string text = choose();
    EXPECT_EQ(verdicts(text, kind == "late" ? "wrong" : kind.c_str()), 2) << text;
    cudnn_is("wrong");
    use(text);
    EXPECT_EQ(run(), own) << kind;
  }
}

TEST_F(AttentionTune, WhatItDoesNotTakeIsOurs) {
  const Results own = run();
  cudnn_is("old");
  EXPECT_EQ(verdicts(choose(), "refused"), 2);
  fs::remove(cache());
  needs_.attentions[0].documents = 0;
  EXPECT_EQ(verdicts(choose(), "refused"), 0) << "rows of one document each are no packed ones";

  cudnn_is("faster");
  fs::remove(cache());
  needs_.attentions[0].documents = 2 * kB;
  const Tensor whole = std::exchange(slab_, slab_.flat(0, 128));
  EXPECT_EQ(verdicts(choose(), "refused"), 2) << "a slab that is too small";
  slab_ = whole;
  fs::remove(cache());
  const std::string text = choose();
  EXPECT_EQ(verdicts(text, "faster"), 2);
  cudnn_is("wrong");
  bench_.ops->use_algorithms(text, needs_, slab_.flat(0, 128));
  EXPECT_EQ(run(), own) << "refused when it is called";
}

TEST_F(AttentionTune, WithoutRoomOrCudnnThereIsNothingToChoose) {
  const Tensor whole = std::exchange(scratch_, scratch_.flat(0, 1024));
  const std::string recorded = choose();
  EXPECT_EQ(verdicts(recorded, "uncompared"), 2) << recorded;
  EXPECT_FALSE(fs::exists(cache()));
  scratch_ = whole;
  EXPECT_EQ(choose(recorded), recorded) << "a run that is gone on with computes as it did";
  cudnn_is("failing");
  EXPECT_EQ(verdicts(choose(), "uncompared"), 1) << "its forward throws";
  fs::remove(cache());
  ::unsetenv("EMULATED_CUDNN");
  EXPECT_EQ(choose().find("sherd-attention"), std::string::npos);
  cudnn_is("faster");
  const std::string text = choose();
  const Results own = run();
  ::unsetenv("EMULATED_CUDNN");  // another rank's machine may have none
  use(text);
  EXPECT_EQ(run(), own);
  cudnn_is("faster");
  slab_ = {};
  EXPECT_EQ(choose().find("sherd-attention"), std::string::npos) << "no memory was planned for it";
  needs_.attentions.clear();
  EXPECT_EQ(choose(text).find("sherd-attention"), std::string::npos) << "--attention own";
}

TEST_F(AttentionTune, ACheckpointsChoiceComesFirst) {
  cudnn_is("slower");
  const std::string recorded = choose();
  fs::remove(cache());
  cudnn_is("faster");
  const std::string mine = choose();
  EXPECT_EQ(choose(recorded), recorded);
  EXPECT_EQ(choose(mine), mine);
  std::string other = recorded;
  other.replace(other.rfind("Emulated"), 8, "Imagined");
  for (const std::string& known : {other, recorded.substr(0, recorded.size() - 9), section(recorded) + "more"})
    EXPECT_EQ(choose(known), mine) << known;
  needs_.attentions[0].documents += 1;
  EXPECT_EQ(verdicts(choose(recorded), "faster"), 2) << "chosen for other documents";
  EXPECT_EQ(verdicts(cached(), "faster"), 4) << "the cache keeps the rest";
}

TEST_F(AttentionTune, MoreDocumentsThanPromisedAreTrouble) {
  use(choose());
  run(2);
  EXPECT_THROW(run(3), Error);
}

TEST_F(AttentionTune, OtherShapesAreOurs) {
  const std::string text = choose();
  const Results own = run();
  needs_.attentions[0].length += 1;
  cudnn_is("wrong");
  use(text);
  EXPECT_EQ(run(), own);
}

}  // namespace
}  // namespace sherd::ops_test
