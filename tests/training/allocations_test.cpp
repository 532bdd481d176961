// Between the second step and the last nobody allocates more than 1 MiB: not we, not MPI, not oneDNN (law 3). This
// program replaces the C library's allocation functions, so that everything in the process is seen.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "../figure.hpp"
#include "../mpi/session.hpp"
#include "sherd/device/cpu/device.hpp"
#include "sherd/plan/training_plan.hpp"
#include "sherd/train/trainer.hpp"

namespace {

constexpr std::size_t kLargest = std::size_t{1} << 20;
std::atomic<bool> armed{false};
std::atomic<std::size_t> largest_seen{0};
std::atomic<int> too_large{0};

void note(std::size_t bytes) {
  if (!armed.load(std::memory_order_relaxed)) return;
  std::size_t seen = largest_seen;
  while (bytes > seen && !largest_seen.compare_exchange_weak(seen, bytes)) {
  }
  if (bytes > kLargest) ++too_large;
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t n) {
  note(n);
  return __libc_malloc(n);
}
void* calloc(std::size_t n, std::size_t size) {
  note(n * size);
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t n) {
  note(n);
  return __libc_realloc(p, n);
}
void* memalign(std::size_t alignment, std::size_t n) {
  note(n);
  return __libc_memalign(alignment, n);
}
void* aligned_alloc(std::size_t alignment, std::size_t n) {
  return memalign(alignment, n);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t n) {
  *out = memalign(alignment, n);
  return *out == nullptr ? ENOMEM : 0;
}
void* mmap(void* at, std::size_t n, int protection, int flags, int fd, off_t offset) {
  note(n);
  return reinterpret_cast<void*>(syscall(SYS_mmap, at, n, protection, flags, fd, offset));
}
}

namespace sherd::test {
namespace {

/// The trainer asks rank 0's clock once a step (with --max-minutes): that is where steps are counted.
class CountingExchange final : public Exchange {
 public:
  CountingExchange(std::unique_ptr<Exchange> inner, std::int64_t last_step)
      : inner_(std::move(inner)), last_(last_step) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::vector<std::string> all_gather(const std::string& mine) override {
    if (mine == "go") {
      ++steps_;
      armed = steps_ >= 2 && steps_ < last_;
    } else if (steps_ == last_ - 1) {
      armed = false;  // the checkpoint at the end
    }
    return inner_->all_gather(mine);
  }
  std::int64_t steps() const { return steps_; }

 private:
  std::unique_ptr<Exchange> inner_;
  std::int64_t last_, steps_ = 0;
};

void write_corpus(const std::string& path, std::int64_t vocab) {
  CorpusInfo info;
  info.documents = 400;
  info.tokens = 400 * 100;
  info.pieces = vocab;
  info.tokenizer_sha256 = std::string(64, '0');
  info.source = "test";
  CorpusWriter writer(path, info);
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(info.tokens));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::uint16_t>((i * i + i / 7) % 997);
  writer.append_tokens(std::as_bytes(std::span(tokens)));
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t d = 0; d <= 400; ++d) offsets.push_back(d * 100);
  writer.append_offsets(offsets);
  writer.commit();
}

/// Activations, weights and logits are each several MiB, so that an allocation of any of them would be seen.
ModelConfig model_config() {
  ModelConfig c;
  c.vocab_size = 4096;
  c.hidden_size = 256;
  c.layers = 3;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.intermediate_size = 1024;
  c.max_position = 1024;
  return c;
}

void train(const std::string& dtype, const std::string& checkpointing) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("sherd-allocations-" + std::to_string(getppid()));
  std::filesystem::create_directories(folder);
  const std::unique_ptr<Exchange> plain = mpi_exchange(session().world());
  const ModelConfig model = model_config();
  const std::string corpus_path = (folder / "corpus.h5").string();
  if (session().rank() == 0) write_corpus(corpus_path, model.vocab_size);
  plain->all_gather("");

  TrainConfig config;
  config.output = folder.string();
  config.dtype = dtype;
  config.activation_checkpointing = checkpointing;
  config.batch_size_per_device = 2;
  config.gradient_accumulation_steps = 2;
  config.total_batch_size = 4 * session().size();
  config.max_seq_length = 1024;
  config.max_training_steps = 6;
  config.max_minutes = 60;
  config.eval_every = 4;
  config.eval_batches = 1;
  config.save_every = 3;
  CountingExchange host(mpi_exchange(session().world()), config.max_training_steps);
  const Corpus corpus(corpus_path);
  const NodeMap nodes = NodeMap::discover(session());
  const RigOptions options = rig_options(config);
  const TrainingPlan plan = plan_training(model, options, [&](Arena& a) { return Mesh::planned(nodes, {}, a); });
  cpu::Options threads;
  threads.threads = 2;
  cpu::Device device(threads);
  Rig rig(device, {[&](Arena& a) { return Mesh::make(session(), nodes, {}, a); }, &cpu::make_ops}, model, options,
          plan.allocate(device));
  rig.initialize(1);
  largest_seen = 0;
  too_large = 0;
  const StepNeeds needs{plan.ops.work, plan.ops.work, {1e9, 1e9}};
  Trainer(config, model, corpus, rig, host, needs).run({});
  armed = false;
  EXPECT_EQ(host.steps(), config.max_training_steps - 1);  // the last step does not ask
  EXPECT_GT(largest_seen.load(), 0u) << "the hook has seen nothing";
  if (session().rank() == 0)
    figure("allocations between step 2 and the last, {}: the largest {} bytes of at most {}", dtype,
           largest_seen.load(), kLargest);
  EXPECT_EQ(too_large.load(), 0) << "the largest has " << largest_seen << " bytes";
  plain->all_gather("");
  if (session().rank() == 0) std::filesystem::remove_all(folder);
}

TEST(Allocations, TheHookSees) {
  armed = true;
  void* p = malloc(kLargest + 1);
  armed = false;
  EXPECT_EQ(too_large.load(), 1);
  free(p);
}

TEST(Allocations, NoneAboveOneMebibyteInFp32) {
  train("fp32", "none");
}
TEST(Allocations, NoneAboveOneMebibyteInBf16) {
  train("bf16", "every-2");
}

}  // namespace
}  // namespace sherd::test
