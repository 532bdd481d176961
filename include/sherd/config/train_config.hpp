#pragma once
// TrainConfig: everything `sherd train` can be told, one comment per field. The names of flags and TOML keys are the
// field names in kebab-case; fields.cpp lists them once more for the parser, and a test holds the two together.
#include <cstdint>
#include <string>

namespace sherd {

struct TrainConfig {
  // --- what ---
  std::string model;                 // directory with config.json, and the weights unless --from-scratch
  std::string data;                  // corpus.h5, made by `sherd prepare`
  std::string tokenizer = "";        // tokenizer.model that made data; found beside model or data otherwise
  std::string output = "out";        // where checkpoints and metrics.jsonl go
  std::string resume = "auto";       // auto: newest good checkpoint in output, if any; none; or a checkpoint directory
  bool from_scratch = false;         // initialise the weights, keyed by seed, name and element
  std::string preset = "corrected";  // corrected | demo-compat: the reference demo's arithmetic
  std::int64_t seed = 42;            // of initialisation, order and stochastic rounding

  // --- how it is spread ---
  std::string sharding = "full";  // none (DDP) | full (ZeRO-3, FSDP) | hybrid (sharded in a node, replicated across)
  std::int64_t shard_size = 0;    // ranks per shard group with hybrid; 0: the ranks of a node
  std::int64_t prefetch = 1;      // units gathered ahead; each is a slot of memory, and a gather less per pass
  std::string device = "auto";    // cuda | cpu | auto: cuda where every rank sees a GPU, cpu where none does
  bool debug = false;             // wait for each operation of a GPU, so that an error names the one that caused it
  std::int64_t threads = 0;       // CPU threads per rank; 0: the cores of this node over its ranks
  double comm_timeout = 300;      // seconds a collective may wait before the job ends and names who is missing

  // --- precision and memory ---
  std::string dtype = "bf16";            // fp32 | bf16 (with fp32 master weights and accumulation)
  bool fp8 = false;                      // with bf16: products of the blocks in e4m3, their gradients in e5m2
  std::string reduce_dtype = "fp32";     // gradients on the wire: fp32 | bf16 (summed once in fp32 either way)
  std::string moments_dtype = "fp32";    // AdamW's: fp32 | bf16 | 8bit, stochastic; 4 | 6 bytes a parameter less
  std::string master_weights = "fp32";   // fp32 | split (bf16 and what it lacks: nothing lost, 2 bytes less)
  std::string gradients_dtype = "fp32";  // as they are kept and added up: fp32 | bf16 (one rank; 2 bytes less)
  bool optimizer_in_backward = false;    // a unit's gradients are used up at once: one micro-batch, no clipping
  bool cuda_graphs = true;               // on one GPU: what is the same in every step is recorded once
  std::string attention = "own";  // own (our kernels) | auto (cuDNN's where the run's start shows it right and faster)
  std::string activation_checkpointing = "selective";  // none | selective | block | every-K

  // --- the batch ---
  std::int64_t batch_size_per_device = 1;        // sequences per rank and micro-batch
  std::int64_t gradient_accumulation_steps = 0;  // micro-batches per step; 0: from total_batch_size, else 1
  std::int64_t total_batch_size = 0;             // sequences per step over all ranks; 0: the product of the others
  std::int64_t max_seq_length = 512;             // tokens per sequence
  bool packing = true;  // several documents per sequence, none attending to another; --no-packing pads

  // --- the optimizer ---
  double learning_rate = 1e-5;  // peak
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_eps = 1e-8;
  double weight_decay = 0.01;          // on matrices; on every parameter with demo-compat, as torch's AdamW there
  double max_grad_norm = 1.0;          // global norm that gradients are clipped to; 0: not
  std::string lr_schedule = "linear";  // linear (to 0) | cosine (to min_lr_ratio) | constant
  double warmup_ratio = 0.1;           // of all steps
  double min_lr_ratio = 0.0;           // of the peak, where the cosine ends

  // --- how long ---
  std::int64_t max_training_steps = 0;  // 0: by epochs
  double num_epochs = 1;                // passes over the training split
  double max_minutes = 0;               // wall time after which to checkpoint and stop; 0: none

  // --- what is kept and shown ---
  std::int64_t eval_every = 0;        // steps between evaluations on the held-out split; 0: at the end only
  std::int64_t eval_batches = 16;     // global batches per evaluation at most
  std::int64_t save_every = 0;        // steps between checkpoints; 0: at the end only
  std::int64_t keep_checkpoints = 2;  // newest ones kept; 0: all
  std::int64_t log_every = 1;         // steps per log line
  std::int64_t profile = 0;           // steps to trace into output/profile, after two that warm up; 0: none
};

}  // namespace sherd
