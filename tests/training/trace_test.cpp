// Every operation of a step has a name that a table knows, on both backends: a trace's shares leave nothing out.
#include <gtest/gtest.h>

#include <set>

#include "../mpi/session.hpp"
#include "sherd/ops/work.hpp"
#include "training_run.hpp"

namespace sherd::test {
namespace {

struct Seen {
  std::set<std::string> ops, ranges;
  TrainingPlan plan;
};

/// A run of two steps, all of which is traced.
Seen traced(RunSpec spec) {
  Seen seen;
  spec.steps = 2;
  spec.global_batch = 4;
  spec.layers = 2;
  spec.begin = [](Rig& rig) {
    rig.initialize(1);
    rig.synchronize();
    rig.device().trace().start(1'000'000);
  };
  spec.end = [&](Rig& rig) {
    rig.synchronize();
    Trace& trace = rig.device().trace();
    trace.pause();
    EXPECT_EQ(trace.dropped(), 0u);
    for (const TraceSlice& slice : trace.take()) {
      seen.ops.insert(slice.op);
      EXPECT_NE(kind_of(slice.op), OpKind::other) << slice.op << " is unknown to src/ops/work.cpp";
      EXPECT_LE(slice.begin, slice.end) << slice.op;
      for (std::size_t i = 0; i < slice.ranges; ++i) seen.ranges.insert(slice.range[i].name);
    }
  };
  seen.plan = run_training(spec).plan;
  return seen;
}

void expect_known(const RunSpec& spec) {
  const Seen seen = traced(spec);
  for (const char* range : {"forward", "backward", "optimizer", "model.layers.0", "model.layers.1"})
    EXPECT_TRUE(seen.ranges.contains(range)) << spec.backend << " " << range;
  for (const char* range : {"gather model.layers.1", "reduce model.layers.1", "gradient norm", "loss"})
    EXPECT_EQ(seen.ranges.contains(range), session().size() > 1) << spec.backend << " " << range;
  for (const auto& [op, work] : seen.plan.ops.work) {
    EXPECT_NE(kind_of(op), OpKind::other) << op;
    const bool part_of_another = spec.backend == "cpu" && op == "cross_entropy_loss";
    EXPECT_TRUE(seen.ops.contains(op) || part_of_another) << op << " is planned, and not traced on " << spec.backend;
  }
}

TEST(TraceOfAStep, KnowsEveryOperation) {
  for (const std::string backend : {"cpu", "cuda"})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const bool tied : {false, true}) {
        RunSpec spec;
        spec.backend = backend;
        spec.dtype = spec.reduce_dtype = spec.moments_dtype = dtype;
        spec.aligned = dtype == DType::bf16;
        spec.tied = tied;
        spec.recompute = tied ? Recompute{Recompute::Mode::selective, 1} : Recompute{Recompute::Mode::segments, 1};
        expect_known(spec);
      }
}

}  // namespace
}  // namespace sherd::test
