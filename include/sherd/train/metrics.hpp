#pragma once
// What a step is told about: one log line for people, one line of metrics.jsonl for programs.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "sherd/comm/communicator.hpp"
#include "sherd/ops/work.hpp"

namespace sherd {

/// What a step is measured against, for one rank.
///
/// Speed of light is the least time that a device needs for a step, over the time that the step took:
///
///     least time = FLOP of products and attention / rate of large products
///                + FLOP of products in eight bits / rate of large products in eight bits
///                + bytes of all other operations  / rate of large copies
///
/// of a step that recomputes nothing (--activation-checkpointing none), whatever the run itself recomputes: needed.
/// FLOP are those of the plan: attention's are causal, as if every document filled its sequence, as in MFU; its scores,
/// which backward computes again because nobody can keep them, are counted. Bytes: each input of an operation read
/// once, each output written once (plan/recording_ops.cpp has the formulas). Communication counts nothing, since it can
/// travel beside computation. Rates are measured when the run starts, by all ranks at once, in the run's dtype, and
/// with --fp8 also in eight bits; a CPU has no units for these, so its products in bf16 count for both. It can pass
/// 100% where much of the attention is masked by short documents, or where tensors stay in a cache.
struct StepNeeds {
  StepWork planned;   // what a step does
  StepWork needed;    // without recomputation
  DeviceRates rates;  // the mean of all ranks

  double least_seconds() const { return sherd::least_seconds(needed, rates); }
};

struct StepReport {
  std::int64_t step = 0, total_steps = 0;  // step counts from 1
  double loss = 0, learning_rate = 0, grad_norm = 0;
  std::int64_t tokens = 0;  // positions of the global batch, padding included
  double seconds = 0;       // wall time of the step
  double tokens_per_second = 0;
  double mfu = 0;                   // model FLOP/s over DeviceRates::flops, --fp8 or not, all ranks; causal convention
  double speed_of_light = 0;        // StepNeeds::least_seconds() over `seconds`
  double memory_gib = 0;            // peak resident memory of this rank; with a GPU, its arenas there
  double data_wait_seconds = 0;     // in this step, waiting for the loader
  double comm_wait_seconds = 0;     // in this step, compute waiting for communication
  double seconds_left = 0;          // to the end of the run
  Traffic shard, replicate, world;  // of this step, this rank
};

/// "a step needs 4 TFLOP and 6 GB of memory traffic per rank: 2.5 s at the 8 TFLOP/s and 3 GB/s that were measured (SOL
/// 100%)"; of a run with --fp8 "4 TFLOP, 3 of them in eight bits," and "8 TFLOP/s, 16 in eight bits,".
std::string needs_line(const StepNeeds& needs);

/// "step 12/200  loss 3.2140  lr 1.0e-04  norm 1.23  8214 tok/s  MFU 41.2%  SOL 55.0%  mem 0.52 GiB  data 0.00 s  comm
/// 0.12 s left 2:31"
std::string log_line(const StepReport& r);
/// One JSON object without a line break.
std::string json_line(const StepReport& r);
/// "1:02:03", "2:31".
std::string clock_text(double seconds);

/// Appends lines to metrics.jsonl, flushed one by one, so that a run that dies has told all it knew.
class MetricsFile {
 public:
  explicit MetricsFile(const std::filesystem::path& path);
  void write(const std::string& json);

 private:
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace sherd
