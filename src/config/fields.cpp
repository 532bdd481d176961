// The lists of fields: names, headings, help and limits.
#include "sherd/config/fields.hpp"

#include <set>

#include "sherd/base/error.hpp"

namespace sherd {
namespace {

constexpr double kMaxCount = 2147483647;       // tokens, sequences, steps and threads also travel as 32-bit integers
constexpr double kMaxSeed = 9007199254740991;  // 2^53 - 1: up to there every JSON reader keeps whole numbers exactly
constexpr Range kCount{0, kMaxCount}, kAtLeastOne{1, kMaxCount}, kSeed{0, kMaxSeed}, kFraction{0, 1};
constexpr Range kBeta{0, 0.999999999};  // below 1, or the bias correction divides by 0
constexpr Range kThreads{0, 1024}, kPrefetch{1, 1024};
constexpr Range kNotNegative{0, 1e12};
constexpr bool kRequired = true;

// Collects the fields of one struct, heading by heading.
class List {
 public:
  void heading(std::string text) { group_ = std::move(text); }
  void text(const char* name, std::string& target, const char* help, bool required = false) {
    fields_.push_back({name, group_, &target, help, {}, {}, required});
  }
  void texts(const char* name, std::vector<std::string>& target, const char* help) {
    fields_.push_back({name, group_, &target, help, {}, {}, kRequired});
  }
  void choice(const char* name, std::string& target, std::vector<std::string> choices, const char* help) {
    fields_.push_back({name, group_, &target, help, {}, std::move(choices)});
  }
  void integer(const char* name, std::int64_t& target, Range range, const char* help) {
    fields_.push_back({name, group_, &target, help, range});
  }
  void number(const char* name, double& target, Range range, const char* help) {
    fields_.push_back({name, group_, &target, help, range});
  }
  void flag(const char* name, bool& target, const char* help) { fields_.push_back({name, group_, &target, help}); }
  void append(Fields more) { fields_.insert(fields_.end(), more.begin(), more.end()); }
  Fields take() { return std::move(fields_); }

 private:
  std::string group_;
  Fields fields_;
};

void add_what(TrainConfig& c, List& f) {
  f.heading("What is trained");
  f.text("model", c.model, "directory with config.json, and the weights unless --from-scratch", kRequired);
  f.text("data", c.data, "corpus.h5, made by sherd prepare", kRequired);
  f.text("tokenizer", c.tokenizer, "tokenizer.model that made --data (beside --model or --data)");
  f.text("output", c.output, "where checkpoints and metrics.jsonl go");
  f.text("resume", c.resume, "auto (the newest good checkpoint in --output, if any), none, or a checkpoint directory");
  f.flag("from-scratch", c.from_scratch, "initialise the weights, keyed by seed, name and element");
  f.choice("preset", c.preset, {"corrected", "demo-compat"}, "demo-compat: the reference demo's arithmetic");
  f.integer("seed", c.seed, kSeed, "of initialisation, order and stochastic rounding");
}

void add_spread(TrainConfig& c, List& f) {
  f.heading("How it is spread");
  f.choice("sharding", c.sharding, {"none", "full", "hybrid"},
           "none (DDP), full (ZeRO-3, FSDP), hybrid (sharded in a node, replicated across)");
  f.integer("shard-size", c.shard_size, kCount, "ranks per shard group with hybrid; 0: the ranks of a node");
  f.integer("prefetch", c.prefetch, kPrefetch,
            "blocks gathered ahead of their use; each takes one more block of memory, and slow links may want 2 or 3");
  f.choice("device", c.device, {"auto", "cpu", "cuda"},
           "what computes; auto: cuda where every rank sees a GPU, cpu where none does");
  f.flag("debug", c.debug, "wait for each operation of a GPU, so that an error names the one that caused it; slow");
  f.integer("threads", c.threads, kThreads, "CPU threads per rank; 0: the cores of this node over its ranks");
  f.number("comm-timeout", c.comm_timeout, {0.1, 1e6},
           "seconds a collective may wait before the job ends and names who is missing");
}

void add_precision(TrainConfig& c, List& f) {
  f.heading("Precision and memory");
  f.choice("dtype", c.dtype, {"fp32", "bf16"}, "bf16 has fp32 master weights and accumulation");
  f.flag("fp8", c.fp8,
         "with bf16, the blocks' products in eight bits: e4m3, gradients in e5m2, a scale per tensor; GPUs of 8.9 and "
         "later");
  f.choice("reduce-dtype", c.reduce_dtype, {"fp32", "bf16"}, "gradients on the wire; summed once in fp32 either way");
  f.choice("moments-dtype", c.moments_dtype, {"fp32", "bf16", "8bit"},
           "AdamW's moments; bf16 and 8bit, rounded stochastically, take 4 and 6 bytes a parameter less");
  f.choice("master-weights", c.master_weights, {"fp32", "split"},
           "split: as the bf16 that computes and the 16 bits it lacks, 2 bytes a parameter less and nothing lost");
  f.choice("gradients-dtype", c.gradients_dtype, {"fp32", "bf16"},
           "as gradients are kept and added up; bf16, on one rank, takes 2 bytes a parameter less");
  f.flag("optimizer-in-backward", c.optimizer_in_backward,
         "update each block as soon as its gradients are there, and keep none; one micro-batch a step, no clipping");
  f.choice("attention", c.attention, {"own", "auto"},
           "own kernels; auto: cuDNN's in bf16 on a GPU, where a test when the run starts finds it right and faster");
  f.flag("cuda-graphs", c.cuda_graphs, "on one GPU: record what is the same in every step, and start it as a whole");
  f.text("activation-checkpointing", c.activation_checkpointing,
         "none, selective (recompute norms and SwiGLU), block (keep block inputs only), every-K (every K-th block's)");
}

void add_batch(TrainConfig& c, List& f) {
  f.heading("The batch");
  f.integer("batch-size-per-device", c.batch_size_per_device, kAtLeastOne, "sequences per rank and micro-batch");
  f.integer("gradient-accumulation-steps", c.gradient_accumulation_steps, kCount,
            "micro-batches per step; 0: from --total-batch-size, else 1");
  f.integer("total-batch-size", c.total_batch_size, kCount,
            "sequences per step over all ranks; 0: the product of the others");
  f.integer("max-seq-length", c.max_seq_length, {2, kMaxCount}, "tokens per sequence");
  f.flag("packing", c.packing, "several documents per sequence, none attending to another; --no-packing pads");
}

void add_optimizer(TrainConfig& c, List& f) {
  f.heading("The optimizer");
  f.number("learning-rate", c.learning_rate, {0, 100}, "peak");
  f.number("adam-beta1", c.adam_beta1, kBeta, "decay of the first moment");
  f.number("adam-beta2", c.adam_beta2, kBeta, "decay of the second moment");
  f.number("adam-eps", c.adam_eps, {1e-30, 1}, "added to the root of the second moment");
  f.number("weight-decay", c.weight_decay, {0, 100}, "on matrices; on every parameter with --preset demo-compat");
  f.number("max-grad-norm", c.max_grad_norm, kNotNegative, "global norm that gradients are clipped to; 0: not");
  f.choice("lr-schedule", c.lr_schedule, {"linear", "cosine", "constant"},
           "after the warm-up: linear to 0, cosine to --min-lr-ratio, or constant");
  f.number("warmup-ratio", c.warmup_ratio, kFraction, "of all steps");
  f.number("min-lr-ratio", c.min_lr_ratio, kFraction, "of the peak, where the cosine ends");
}

void add_length(TrainConfig& c, List& f) {
  f.heading("How long");
  f.integer("max-training-steps", c.max_training_steps, kCount, "0: by epochs");
  f.number("num-epochs", c.num_epochs, {1e-6, 1e6}, "passes over the training split");
  f.number("max-minutes", c.max_minutes, kNotNegative, "wall time after which to checkpoint and stop; 0: none");
}

void add_kept_and_shown(TrainConfig& c, List& f) {
  f.heading("What is kept and shown");
  f.integer("eval-every", c.eval_every, kCount, "steps between evaluations on the held-out split; 0: at the end only");
  f.integer("eval-batches", c.eval_batches, kCount, "global batches per evaluation at most");
  f.integer("save-every", c.save_every, kCount, "steps between checkpoints; 0: at the end only");
  f.integer("keep-checkpoints", c.keep_checkpoints, kCount, "newest ones kept; 0: all");
  f.integer("log-every", c.log_every, kAtLeastOne, "steps per log line");
  f.integer("profile", c.profile, {0, 100},
            "steps to trace, after two that warm up, into <output>/profile (docs/profile.md); 0: none");
}

}  // namespace

Fields fields_of(TrainConfig& c) {
  List f;
  add_what(c, f);
  add_spread(c, f);
  add_precision(c, f);
  add_batch(c, f);
  add_optimizer(c, f);
  add_length(c, f);
  add_kept_and_shown(c, f);
  return f.take();
}

Fields fields_of(PrepareConfig& c) {
  List f;
  f.heading("What is prepared");
  f.texts("input", c.inputs, "JSONL files with a text field, or plain text files, in the order of the corpus");
  f.text("output", c.output, "the corpus to write");
  f.text("tokenizer", c.tokenizer, "tokenizer.model; with --train-tokenizer it is written, else read", kRequired);
  f.integer("train-tokenizer", c.train_tokenizer, {0, 1 << 20},
            "pieces of a tokenizer trained on the input; 0: use an existing one");
  f.choice("format", c.format, {"auto", "jsonl", "text"},
           "jsonl (field text), text (a document per line), auto (by the file's extension)");
  f.number("eval-fraction", c.eval_fraction, {0, 0.9}, "of the documents, held out for evaluation");
  f.integer("seed", c.seed, kSeed, "of the choice of held-out documents");
  f.flag("skip-bad-lines", c.skip_bad_lines, "count and leave out broken lines instead of stopping at the first");
  f.flag("add-bos", c.add_bos, "begin every document with the tokenizer's bos");
  f.flag("add-eos", c.add_eos, "end every document with its eos");
  f.integer("threads", c.threads, kThreads, "encoding threads per rank; 0: the cores this process may use");
  return f.take();
}

Fields fields_of(GenerateConfig& c) {
  List f;
  f.heading("What is generated");
  f.text("model", c.model, "Hugging Face directory, checkpoint directory, or the output directory of a run", kRequired);
  f.text("tokenizer", c.tokenizer, "tokenizer.model; empty: the one beside the model");
  f.text("prompt", c.prompt, "text to continue; empty: from the beginning of a document");
  f.integer("max-new-tokens", c.max_new_tokens, kAtLeastOne, "tokens to add at most");
  f.number("temperature", c.temperature, {0, 100}, "0: always the likeliest token");
  f.integer("top-k", c.top_k, kCount, "sample among this many likeliest; 0: all");
  f.integer("seed", c.seed, kSeed, "of sampling");
  f.choice("device", c.device, {"auto", "cpu", "cuda"}, "what computes; auto: cuda where there is a GPU");
  f.integer("threads", c.threads, kThreads, "CPU threads; 0: all cores");
  f.integer("count", c.count, kAtLeastOne, "continuations to write");
  return f.take();
}

Fields fields_of(ExportConfig& c) {
  List f;
  f.heading("What is exported");
  f.text("checkpoint", c.checkpoint, "output directory of a run (its newest good checkpoint), or one step directory",
         kRequired);
  f.text("output", c.output, "Hugging Face directory to write", kRequired);
  f.choice("dtype", c.dtype, {"bf16", "fp32"}, "of the weights written");
  f.text("tokenizer", c.tokenizer, "tokenizer.model to put beside the weights; empty: the checkpoint's own, if any");
  return f.take();
}

Fields fields_of(InspectConfig& c) {
  List f;
  f.heading("What is inspected");
  f.text("path", c.path, "corpus, checkpoint, run directory or model directory", kRequired);
  return f.take();
}

Fields fields_of(PlanConfig& c) {
  Fields train = fields_of(c.train);
  for (Field& field : train) field.required = field.required && field.name != "data";  // a plan reads no corpus
  List f;
  f.append(std::move(train));
  f.heading("What is planned for");
  f.integer("ranks", c.ranks, kAtLeastOne, "of all nodes");
  f.integer("nodes", c.nodes, kAtLeastOne, "--ranks is a multiple of it");
  return f.take();
}

void apply_preset(TrainConfig& c, std::string_view preset) {
  if (preset != "corrected" && preset != "demo-compat") {
    throw usage_error("preset is \"{}\"; corrected or demo-compat is expected", preset);
  }
  c.preset = preset;
  if (preset == "corrected") return;  // the defaults of the struct
  c.dtype = "bf16";
  c.fp8 = false;
  c.moments_dtype = "fp32";
  c.master_weights = "fp32";
  c.gradients_dtype = "fp32";
  c.optimizer_in_backward = false;
  c.batch_size_per_device = 1;
  c.total_batch_size = 64;
  c.max_seq_length = 512;
  c.packing = false;
  c.learning_rate = 1e-5;
  c.adam_beta1 = 0.9;
  c.adam_beta2 = 0.999;
  c.adam_eps = 1e-8;
  c.weight_decay = 0.01;
  c.max_grad_norm = 0;
  c.lr_schedule = "linear";
  c.warmup_ratio = 0.1;
  c.num_epochs = 1;
  c.seed = 42;
}

std::vector<std::string> changed_from_preset(const TrainConfig& config) {
  static const std::set<std::string> arithmetic = {
      "total-batch-size", "max-seq-length",  "packing",       "learning-rate", "adam-beta1",   "adam-beta2",
      "adam-eps",         "weight-decay",    "max-grad-norm", "lr-schedule",   "warmup-ratio", "min-lr-ratio",
      "moments-dtype",    "gradients-dtype", "fp8",           "master-weights"};
  if (config.preset != "demo-compat") return {};
  TrainConfig preset, own = config;
  apply_preset(preset, config.preset);
  const Fields of_preset = fields_of(preset), of_own = fields_of(own);
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < of_own.size(); ++i) {
    const std::string expected = value_text(of_preset[i]), found = value_text(of_own[i]);
    if (arithmetic.contains(of_own[i].name) && expected != found) {
      lines.push_back(fmt::format("{}: {} and {}", of_own[i].name, expected, found));
    }
  }
  return lines;
}

}  // namespace sherd
